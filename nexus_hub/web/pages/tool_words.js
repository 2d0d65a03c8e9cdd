// Tools in plain words: what their server says that a call does.

import { h } from "../core/dom.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";

/** @param {any} tool @returns {string} its address */
export function pageOf(tool) {
  return `/tools/${encodeURIComponent(tool.name)}`;
}

/** Show the way to whose tool it is: a server, or the bundle by whose name it is called. @param {any} tool @returns {HTMLElement} */
export function ownerLink(tool) {
  const name = tool.name.split("__", 1)[0];
  const path = tool.bundle ? `/bundles/${encodeURIComponent(tool.bundle)}` : `/servers/${tool.server_type}/${tool.server_ref_id}`;
  return link(path, safe(tool.bundle ?? name, { lines: 1, most: 60 }));
}

/**
 * Say in words what a tool's annotations claim; nothing where they claim nothing.
 * @param {any} tool @returns {{word: string, means: string, tone: string}[]}
 */
export function hintsOf(tool) {
  const said = tool.definition?.annotations ?? {};
  const hints = [];
  const add = (word, means, tone = "off") => hints.push({ word, means, tone });
  if (said.readOnlyHint === true) add("read only", "A call changes nothing.", "good");
  else {
    if (said.destructiveHint === true) add("destructive", "A call may delete or overwrite.", "bad");
    else if (said.destructiveHint === false) add("adds only", "A call only adds; it deletes nothing.");
    if (said.idempotentHint === true) add("repeatable", "The same call twice does no more than once.", "good");
    else if (said.idempotentHint === false) add("not repeatable", "The same call twice has its effect twice.", "warn");
  }
  if (said.openWorldHint === true) add("open world", "It reaches beyond its server, as the web.");
  else if (said.openWorldHint === false) add("closed world", "It stays within its server.");
  return hints;
}

/** Show what a call of a tool may change, as badges. @param {any} tool */
export function hintBadges(tool) {
  const hints = hintsOf(tool).filter(({ word }) => !word.endsWith("world"));
  return hints.length === 0 ? null : h("span", { class: "hints" }, hints.map(({ word, means, tone }) => h("span", { class: `badge tone-${tone}`, title: means, text: word })));
}
