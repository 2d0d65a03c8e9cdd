// What a token may be good for, in words.

import { h } from "../core/dom.js";

export const SCOPES = {
  "tools:list": "See servers, tools, resources and prompts",
  "tools:call": "Call tools, read resources and get prompts",
  jobs: "See, start and cancel jobs",
  admin: "Operate the hub",
};

/** Show what a token or a client may do. @param {string[] | null | undefined} scopes null: all that its user may do */
export function scopesCell(scopes) {
  if (!scopes) return "everything";
  return h("ul", { class: "scope-list" }, scopes.map((one) => h("li", { title: SCOPES[one] ?? null, text: one })));
}
