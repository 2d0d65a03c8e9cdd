// Servers in plain words: how they are, what is known of them, and what to do.

import { h } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { badge } from "../core/parts.js";
import { safe } from "../core/text.js";

/** What to do about an error, by its code. */
const ADVICE = {
  "upstream-unavailable": "See that it runs and can be reached from the hub's machine, then press Test.",
  "circuit-open": "See that it runs and can be reached from the hub's machine, then press Test.",
  "upstream-rejected": "It refuses what it is asked. If it wants a token, that may have ended: register it anew with a good one.",
  "login-needed": "The hub has no login there that still holds. Connect the server on its page.",
  "upstream-timed-out": "It takes too long. Give its jobs more time, or see what keeps it busy.",
  "outcome-unknown": "The connection broke during a call. Look there for what took place before you run the call again.",
  "malformed-result": "Its answer breaks the protocol. Tell those who make it; a newer release of it may help.",
  "rate-limited": "More calls came than its limit allows. Raise the limit below, or call less often.",
  "cannot-open": "The hub has no key for what it keeps of this server. An operator can put the key back, see Keys; or register the server anew.",
  "unbound-value": "The hub has no key for what it keeps of this server. An operator can put the key back, see Keys; or register the server anew.",
  "quota-used-up": "Its owner has as many tools as are allowed. Remove servers that nobody needs, or ask an operator for more room.",
  "too-large": "It offers or answers more than the hub takes. An operator can raise the bound.",
};

export const DURABLE = {
  always: "each is a job from its start",
  long: "a job once it takes long",
  never: "never a job by itself",
};

/** @param {any} server @returns {string} the address of its page */
export function pageOf(server) {
  return `/servers/${server.server_type}/${server.id}`;
}

/** @param {any} server @returns {string} its route of the API */
export function routeOf(server) {
  return `/v1/servers/${server.server_type}/${server.id}`;
}

/**
 * Say how a server is.
 * @param {any} server
 * @returns {{state: "ok" | "warn" | "down" | "none", word: string, detail: any[], advice: any[]}}
 */
export function health(server) {
  const { circuit = { state: "closed" }, catalog = {} } = server;
  if (server.enabled === false) return { state: "none", word: "switched off", detail: [], advice: ["An operator switched it off; no call reaches it."] };
  if (circuit.state === "open") {
    return {
      state: "down", word: "not answering", detail: ["since ", time(circuit.since)],
      advice: ["Calls are refused at once until the hub tries it again ", time(circuit.until), ". ", ADVICE["upstream-unavailable"]],
    };
  }
  if (circuit.state === "half-open") {
    return { state: "warn", word: "being tried", detail: ["not answering since ", time(circuit.since)], advice: ["The hub is finding out whether it answers again."] };
  }
  if (needsLogin(server)) return { state: isPersonal(server) ? "none" : "warn", word: "needs login", detail: [], advice: [loginAdvice(server)] };
  if (!catalog.read_at) return { state: "warn", word: "never read", detail: [], advice: ["Press Sync tools, so that the hub knows what it offers.", advise(server)] };
  if (catalog.error || catalog.failures > 0) {
    const tries = catalog.failures > 1 ? `${number(catalog.failures)} tries in a row failed` : "the last try failed";
    return { state: "warn", word: "catalog not read", detail: [tries], advice: ["What it offers is shown as it was last read. ", advise(server)] };
  }
  return { state: "ok", word: "answering", detail: [], advice: [] };
}

/** Tell if calls of who looks wait for a login at the server. @param {any} server */
export function needsLogin(server) {
  return server.status === "needs-login" || (server.login !== undefined && server.login !== null && server.login.state !== "ready");
}

/** Tell if a login is missing that concerns nobody but who looks, and who may never want one. */
function isPersonal({ login, catalog = {} }) {
  return login?.credentials === "per-user" && login.state === "none" && Boolean(catalog.read_at);
}

function loginAdvice(server) {
  if (server.login?.credentials === "per-user") return "Connect it: calls need a login of your own at this server.";
  return "Connect it, or ask an operator to: calls need a login at this server.";
}

function advise(server) {
  return ADVICE[server.last_error_code] ?? ADVICE[server.last_errors?.[0]?.code] ?? "Press Test: it says what is wrong.";
}

/** @param {string} code @returns {string} */
export function adviceOf(code) {
  return ADVICE[code] ?? "";
}

/** Show how a server is, as a badge with a few words. @param {any} server */
export function healthCell(server) {
  const { state, word, detail } = health(server);
  return h("span", { class: "server-health" }, badge(state, word), detail.length > 0 && h("span", { class: "muted small" }, detail));
}

/** Count what a server offers, tools first. @param {any} server @returns {string[]} */
export function offers(server) {
  const { tools = 0, resources = 0, prompts = 0 } = { ...server, ...server.catalog };
  const words = [[tools, "tool"], [resources, "resource"], [prompts, "prompt"]];
  return words.filter(([count], index) => count || index === 0).map(([count, word]) => `${number(count)} ${word}${count === 1 ? "" : "s"}`);
}

/** Show how much of a server's limit is in use, as a small bar with words. @param {any} server */
export function limitCell(server) {
  const { per_minute: most, used = 0, user_per_minute: perUser } = server.limit ?? {};
  const each = perUser ? h("span", { class: "muted small", text: `${number(perUser)} a minute for each user` }) : null;
  if (!most) return each ?? h("span", { class: "muted", text: "no limit" });
  const share = Math.min(1, used / most);
  const bar = h("span", { class: ["bar", share >= 1 ? "bar-full" : share >= 0.8 && "bar-near"], "aria-hidden": "true" },
    h("span", { class: "bar-used", style: { width: `${share * 100}%` } }));
  return h("span", { class: "limit" }, bar, h("span", { class: "small", text: `${number(used)} of ${number(most)} this minute` }), each);
}

/** Show an error in its own words. @param {{at: string, error: string, code: string}} one */
export function errorText(one, { lines = 2 } = {}) {
  return h("span", {}, safe(one.error || one.code, { lines, most: 300 }));
}
