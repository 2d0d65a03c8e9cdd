// What one user may do, and by which grant.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { empty, failure, loading, table } from "../core/parts.js";
import { approversCell, levelBadge, targetCell } from "./access_words.js";

const MOST = 1000;

/**
 * Make the panel.
 * @param {string} user a name, or `me` @param {AbortSignal} signal @returns {HTMLElement}
 */
export function permissionsPanel(user, signal) {
  const place = h("div", {}, loading());
  const load = async () => {
    try {
      const found = await get(`/v1/users/${encodeURIComponent(user)}/permissions`, { limit: MOST }, { signal });
      replace(place, shown(found));
    } catch (error) {
      if (!signal.aborted) replace(place, failure(error, load));
    }
  };
  load();
  return place;
}

function shown({ items, groups, next_cursor: next }) {
  const columns = [
    { title: "Of", cell: (one) => targetCell(targetOf(one)) },
    { title: "May", cell: (one) => levelBadge(one.level) },
    { title: "Yes is said by", cell: approversCell },
    { title: "Because of", cell: reasonCell },
  ];
  const list = table({ columns, rows: items, key: (one) => `${one.id} ${one.tool}`, label: "Permissions", empty: empty("Nothing at all", "No group grants anything, and the default is closed.") });
  return h("div", { class: "stack" },
    h("p", {}, "Groups: ", h("span", { class: "muted" }, groups.map((one) => one.name).join(", "))), list.element,
    next && h("p", { class: "muted", text: `The first ${number(items.length)} are shown.` }));
}

function targetOf({ target, name, tool }) {
  return target === "bundle" ? { bundle: name } : { server: name, tool };
}

/** Show the grants by which something is so. */
function reasonCell({ by }) {
  if (!by.length) return h("span", { class: "muted", text: "open to all" });
  return `the group ${[...new Set(by.map((one) => one.group))].join(", ")}`;
}
