// Bundles: named sets of tools, prompts and resources, each an endpoint of its own.

import { get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { badge, button, empty, failure, field, page, table } from "../core/parts.js";
import { go, link } from "../core/router.js";
import { safe } from "../core/text.js";
import { NAME } from "./bundle_words.js";

/** @returns {string} */
export function title() {
  return "Bundles";
}

/** @param {any} bundle @returns {string} the address of its page */
export function pageOf(bundle) {
  return `/bundles/${encodeURIComponent(bundle.name)}`;
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { session, signal }) {
  const { head, body } = page("Bundles", {
    lead: "Sets of tools, prompts and resources of several servers, under names of their own. Each is an endpoint for clients.",
  });
  const { items: bundles } = await get("/v1/bundles", {}, { signal });
  body.append(table({ columns: session.is_operator ? [...COLUMNS, ...INSIDE] : COLUMNS, rows: bundles, key: (one) => one.name, label: "Bundles", empty: nothing(session) }).element);
  if (session.is_operator) body.append(h("section", { class: "access-section" }, h("h2", { text: "New bundle" }), newForm()));
  root.append(head, body);
}

const COLUMNS = [
  { title: "Bundle", cell: nameCell },
  { title: "Endpoint", cell: (one) => h("code", { text: `/mcp/${one.name}` }) },
  { title: "What for", cell: (one) => safe(one.instructions ?? "", { lines: 2, most: 160, button: false }) },
];
/** What operators alone are told. */
const INSIDE = [
  { title: "Holds", cell: holdsCell },
  { title: "Access", cell: (one) => accessCell(one.access) },
];

function nameCell(one) {
  const made = link(pageOf(one), safe(one.name, { lines: 1, most: 40, button: false }));
  made.dataset.open = "";
  return h("span", { class: "stacked" }, made, one.title && h("span", { class: "muted small" }, safe(one.title, { lines: 1, most: 80, button: false })));
}

function holdsCell({ entries }) {
  const missing = entries.filter((one) => one.state === "missing").length;
  return h("span", { class: "named" }, `${number(entries.length)} ${entries.length === 1 ? "entry" : "entries"}`, missing > 0 && badge("warn", `${number(missing)} missing`));
}

/** Show who may use a bundle or a server by default. @param {string | null} access */
export function accessCell(access) {
  return access ?? h("span", { class: "muted", text: "the hub’s default" });
}

function nothing({ is_operator: isOperator }) {
  return isOperator ? empty("No bundles yet", "Put together what one task needs: fewer tools, named for the task, leave a model more room.")
    : empty("No bundle is for you yet", "An operator makes them, and says who may use which.");
}

function newForm() {
  const name = h("input", { type: "text", required: true, pattern: NAME, maxlength: 32, autocomplete: "off", spellcheck: "false", placeholder: "travel" });
  const wrong = h("div", {});
  const submit = button("Make a bundle", async () => {
    if (!name.reportValidity()) return;
    replace(wrong);
    try {
      const made = await post("/v1/bundles", { name: name.value.trim(), entries: [] });
      go(`${pageOf(made)}?edit=1`);
    } catch (error) {
      replace(wrong, failure(error));
    }
  }, { kind: "primary" });
  return h("form", { class: "token-form", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    field("Name", name, "Letters, digits, - and _. It stands in the endpoint’s address."), submit, wrong);
}
