// Access in plain words: levels, what a grant is of, and what of it counts.

import { h, icon } from "../core/dom.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";

/** What the members of a group may do with something. */
export const LEVELS = {
  list: "see it, and not call it",
  approve: "call it once a person has said yes",
  call: "call it",
};
export const ACCESS = {
  open: "open: every user may call what says nothing else",
  closed: "closed: a user sees only what a group of theirs is granted, and what is open by itself",
};
/** Each level in short: a tone, an icon, and a word. */
const SHORT = { list: ["off", "eye", "see"], approve: ["warn", "clock", "call after a yes"], call: ["good", "check", "call"] };

/** Show a level. @param {string} level */
export function levelBadge(level) {
  const [tone, sign, word] = SHORT[level] ?? ["off", "dot", level];
  return h("span", { class: `badge tone-${tone}` }, icon(sign), word);
}

/** Name what a grant is of. @param {{server?: string | null, tool?: string | null, bundle?: string | null}} grant @returns {string} */
export function targetName({ server, tool, bundle }) {
  if (bundle) return `the bundle ${bundle}`;
  return tool ? `the tool ${tool} of ${server}` : `the server ${server}`;
}

/** Show what a grant is of, with its kind. */
export function targetCell({ server, tool, bundle }) {
  if (bundle) return named("bundle", link(`/bundles/${encodeURIComponent(bundle)}`, safe(bundle, { lines: 1, most: 60, button: false })));
  const owner = safe(server, { lines: 1, most: 60, button: false });
  if (!tool) return named("server", owner);
  return h("span", { class: "target" }, h("span", { class: "muted small", text: "tool" }), safe(tool, { lines: 1, most: 80, button: false }), h("span", { class: "muted small" }, "of ", owner));
}

function named(kind, content) {
  return h("span", { class: "target" }, h("span", { class: "muted small", text: kind }), content);
}

/** Show who may say yes to a call. @param {{level: string, approvers?: string | null, self_approval?: boolean}} grant */
export function approversCell({ level, approvers, self_approval: isSelf }) {
  if (level !== "approve") return h("span", { class: "muted", text: "–" });
  const groups = [approvers ?? []].flat();
  const who = ["operators", ...groups.map((one) => `the group ${one}`), isSelf && "who asks"].filter(Boolean);
  return who.join(", ");
}
