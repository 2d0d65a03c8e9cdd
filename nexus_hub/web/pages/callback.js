// The way back of a login at a server: what its authorization server sends is handed to the hub, and leaves the address.

import { logInFirst, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { button, failure, loading } from "../core/parts.js";
import { go, link } from "../core/router.js";
import { current } from "../core/session.js";
import { safe } from "../core/text.js";
import { gate, gateCard } from "./gate.js";

/** Answers after which the same can be sent again; 0 is none at all. */
const AGAIN = new Set([0, 401, 429, 500, 502, 503, 504]);
const MEMBERS = ["state", "code", "iss", "error", "error_description"];
/**
 * What was sent, while one logs in to the hub first; never in an address, nor in what a browser keeps.
 * @type {Record<string, string> | null}
 */
let arrived = null;

/** @returns {string} */
export function title() {
  return "Login at a server";
}

/** @param {HTMLElement} root @param {{query: URLSearchParams, signal: AbortSignal}} context */
export async function render(root, { query, signal }) {
  take(query);
  const place = replace(gate(root), loading("Finishing the login"));
  if (!arrived) return void replace(place, nothing());
  const finish = async () => {
    if (!(await current())) return logInFirst();
    const sent = arrived;
    arrived = null;
    try {
      replace(place, done(await post("/v1/logins:finish", sent, { signal })));
    } catch (error) {
      if (AGAIN.has(error.status)) arrived = sent;
      throw error;
    }
  };
  const attempt = () => finish().catch((error) => {
    if (error.name === "AbortError" || error.status === 401) throw error;
    replace(place, refused(error, arrived ? attempt : null));
  });
  await attempt();
}

/** Take what was sent out of the address at once, so that neither the history nor a picture of the window keeps it. */
function take(query) {
  const found = MEMBERS.filter((name) => query.get(name)).map((name) => [name, query.get(name)]);
  if (location.search || location.hash) history.replaceState(null, "", location.pathname);
  if (query.get("state")) arrived = Object.fromEntries(found);
}

function done({ server }) {
  return gateCard("You are logged in", h("p", {}, "The hub may now act for you at ", serverName(server), ". You can close this page and go back to where you came from."),
    button("Go to the server", () => go(pageOf(server)), { kind: "primary" }));
}

function refused(error, retry) {
  return gateCard("The login did not succeed", failure(error, retry), h("p", {}, "Go to ", link("/servers", "the servers"), ", or back to the client that asked for it."));
}

function nothing() {
  return gateCard("There is nothing to finish", h("p", {}, "This login is finished, or it was never begun. See ", link("/servers", "the servers"), " for which of them you are logged in at."));
}

function serverName(server) {
  return h("strong", {}, safe(server?.name ?? server ?? "the server", { lines: 1, most: 60, button: false }));
}

function pageOf(server) {
  return server?.id ? `/servers/${server.server_type ?? server.type}/${server.id}` : "/servers";
}
