// One tool: what it says of itself, and a form that runs it.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { page } from "../core/parts.js";
import { safe } from "../core/text.js";
import { readExact, tree } from "../core/tree.js";
import { runPanel } from "./tool_run.js";
import { hintsOf, ownerLink } from "./tool_words.js";

/** @returns {string} */
export function title(params) {
  return params?.name ? params.name.slice(0, 80) : "Tool";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, signal }) {
  const text = await get(`/v1/tools/${encodeURIComponent(params.name)}`, {}, { signal, text: true });
  const tool = JSON.parse(text);
  const exact = readExact(text).definition ?? {};
  const { head, body } = page(safe(tool.title || tool.tool_name, { most: 100 }), {
    lead: [h("code", {}, safe(tool.name, { lines: 1, most: 80 })), " of ", tool.bundle ? "the bundle " : "", ownerLink(tool),
      tool.stale && h("span", { class: "tone-warn", text: ", as it was last read" })],
  });
  body.append(
    h("section", { class: "tool-about card card-pad" },
      tool.description ? h("p", {}, safe(tool.description, { lines: 12, most: 1500 })) : h("p", { class: "muted", text: "Its server says nothing about it." }),
      hintList(tool)),
    runPanel(tool, text, signal),
    schemaPart("Input schema", exact.inputSchema),
    exact.outputSchema ? schemaPart("Output schema", exact.outputSchema) : "");
  replace(root, head, body);
}

function hintList(tool) {
  const hints = hintsOf(tool);
  if (!hints.length) return h("p", { class: "muted small", text: "Its server does not say if a call changes anything." });
  return h("ul", { class: "hint-list" }, hints.map(({ word, means, tone }) =>
    h("li", {}, h("span", { class: `badge tone-${tone}`, text: word }), " ", h("span", { class: "muted", text: means }))));
}

function schemaPart(name, schema) {
  const place = h("div", { class: "schema-tree" });
  const made = h("details", { class: "card card-pad" }, h("summary", {}, h("h2", { text: name })), place);
  made.addEventListener("toggle", () => made.open && !place.firstChild && place.append(tree(schema ?? {})));
  return made;
}
