// Tables that keep their rows, so that many changes a second move only what changed.

import { frag, h, replace } from "./dom.js";

/**
 * @typedef {{title: string, cell: (row: any) => import("./dom.js").Child, class?: string}} Column
 */

/**
 * Make a table, which becomes cards where the page is narrow.
 * @param {{columns: Column[], rows?: any[], key: (row: any) => string, empty?: Node | null, label?: string,
 *   tone?: (row: any) => string | null}} options
 *   `key`: the same for the same thing; a row that is the same object as before is left as it is.
 *   `empty`: shown where there are no rows. `tone`: a class of the row.
 * @returns {{element: HTMLElement, update: (rows: any[]) => void}}
 */
export function table({ columns, rows = [], key, empty = null, label, tone }) {
  const body = h("tbody", {});
  const heads = columns.map((one) => h("th", { scope: "col", class: one.class, text: one.title }));
  const grid = h("table", { class: "table", "aria-label": label ?? null }, h("thead", {}, h("tr", {}, heads)), body);
  const nothing = h("div", {}, empty);
  const element = h("div", { class: "table-place" }, grid, nothing);
  /** @type {Map<string, {node: HTMLElement, row: any}>} */
  let known = new Map();

  const update = (next) => {
    const now = new Map();
    let place = body.firstChild;
    for (const row of next) {
      const id = key(row);
      const entry = known.get(id) ?? { node: h("tr", { tabindex: "-1", data: { key: id } }), row: undefined };
      if (entry.row !== row) fill(entry, row, columns, tone);
      now.set(id, entry);
      if (entry.node === place) place = place.nextSibling;
      else body.insertBefore(entry.node, place);
    }
    for (const [id, { node }] of known) if (!now.has(id)) node.remove();
    known = now;
    grid.hidden = !next.length;
    nothing.hidden = next.length > 0;
  };
  body.addEventListener("click", openRow);
  update(rows);
  return { element, update };
}

function fill(entry, row, columns, tone) {
  entry.row = row;
  const cells = columns.map((one) => h("td", { class: one.class, data: { title: one.title } }, wrap(one.cell(row))));
  replace(entry.node, cells);
  entry.node.className = tone?.(row) ?? "";
}

/** Keep a sentence in one piece, since parts of a narrow cell stand side by side. */
function wrap(content) {
  return Array.isArray(content) && content.some((part) => typeof part === "string") ? h("span", {}, content) : frag(content);
}

/** Open the row's link after a click beside it, unless text is being selected. */
function openRow(event) {
  if (event.defaultPrevented || event.target.closest("a, button, input, select, label, summary, time")) return;
  if (!getSelection()?.isCollapsed) return;
  const opener = event.target.closest("tr")?.querySelector("a[data-open]");
  opener?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey: event.ctrlKey, metaKey: event.metaKey }));
}
