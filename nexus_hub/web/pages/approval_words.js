// Approvals in plain words: their states, and how one was decided.

import { h } from "../core/dom.js";
import { time } from "../core/format.js";
import { badge } from "../core/parts.js";
import { safe } from "../core/text.js";

const STATES = {
  waiting: ["waiting", "waits for a yes"], approved: ["ok", "approved, and about to be called"], used: ["done", "approved, and called"],
  denied: ["failed", "denied"], expired: ["none", "too late"],
};
const VIAS = { console: "in the console", api: "by a token", elicitation: "in the chat" };

/** @param {any} approval @returns {string} the address of its page */
export function pageOf(approval) {
  return `/approvals/${encodeURIComponent(approval.id)}`;
}

/** Show how it stands. @param {string} state */
export function stateBadge(state) {
  const [tone, word] = STATES[state] ?? ["none", state];
  return badge(tone, word);
}

/** Say who decided, when and by which way; null where nobody has. @param {any} approval */
export function decision({ state, decided_at: at, decided_by: by, decided_via: via, reason }) {
  if (!at) return null;
  return h("span", {}, state === "expired" && "approved ", "by ", safe(by ?? "an operator", { lines: 1, most: 64, button: false }), " ", VIAS[via] ?? "", " ", time(at),
    reason && [": ", safe(reason, { lines: 3, most: 500 })]);
}

/** Show who asked. @param {any} approval */
export function askerCell(approval) {
  return safe(approval.user ?? "a user", { lines: 1, most: 64, button: false });
}
