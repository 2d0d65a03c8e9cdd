// The account of whoever is logged in: own tokens, clients that may act for one, and logins at servers.

import { del, get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { button, confirm, empty, failure, loading, page, table, toast } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { permissionsPanel } from "./permissions.js";
import { scopesCell } from "./scopes.js";
import { loginBadge } from "./server_login.js";
import { pageOf } from "./server_words.js";
import { tokenList } from "./token_list.js";

const MOST_PAGES = 5;

/** @returns {string} */
export function title() {
  return "Account";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { session, signal }) {
  const { head, body } = page("Account", {
    lead: ["You are ", h("strong", {}, safe(session.user.name, { lines: 1, most: 64 })), session.is_operator ? ", an operator of this hub." : "."],
  });
  const own = session.user.id
    ? tokenList("/v1/users/me/tokens", { name: session.user.name, signal })
    : h("p", {}, "You hold the service key, which is in the hub’s own files. ", link("/users", "Users"), " have tokens.");
  body.append(
    session.is_operator
      ? section("Clients that were let in", "By you and by all users: an operator may shut each out.", shown(signal, (...given) => grants(true, ...given)))
      : section("Clients that may act for you", "You let them in on the page that they sent you to.", shown(signal, (...given) => grants(false, ...given))),
    section("Logins at servers", "Servers at which the hub acts for you, with what you gave it.", shown(signal, logins)),
    session.user.id ? section("What you may do", "With servers, tools and bundles, and by which group of yours.", permissionsPanel("me", signal)) : "",
    section("Tokens", "For clients that take no other log-in, and for scripts.", own));
  replace(root, head, body);
}

function section(name, lead, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), h("p", { class: "muted", text: lead }), content);
}

/** A part of the page that is loaded by itself: what fails in it leaves the others. */
function shown(signal, make) {
  const place = h("div", {}, loading());
  const load = async () => {
    try {
      replace(place, await make(signal, load));
    } catch (error) {
      if (!signal.aborted) replace(place, failure(error, load));
    }
  };
  load();
  return place;
}

async function grants(ofAll, signal, reload) {
  const { items } = await get("/v1/grants", {}, { signal });
  const end = async (grant) => {
    const text = "It can do nothing more at once, until it is let in again. Jobs that run go on.";
    if (!(await confirm(`Shut out ${nameOf(grant)}?`, text, "Shut out"))) return;
    await del(`/v1/grants/${encodeURIComponent(grant.id)}`);
    toast("The client is shut out.");
    await reload();
  };
  return table({
    columns: [
      { title: "Client", cell: (grant) => clientCell(grant.client) },
      ...(ofAll ? [{ title: "For", cell: (grant) => safe(grant.user?.name ?? "the operator", { lines: 1, most: 64 }) }] : []),
      { title: "May", cell: (grant) => scopesCell(grant.scopes) },
      { title: "Last used", cell: (grant) => (grant.last_used_at ? time(grant.last_used_at) : h("span", { class: "muted", text: "never" })) },
      { title: "Let in", cell: (grant) => time(grant.created_at) },
      { title: "Actions", class: "actions", cell: (grant) => button("Shut out", () => end(grant), { kind: "danger", "aria-label": `Shut out ${nameOf(grant)}` }) },
    ],
    rows: items, key: (grant) => grant.id, label: "Clients",
    empty: empty("No client acts for you", h("span", {}, "Paste ", h("code", { text: `${location.origin}/mcp` }), " into a client that knows MCP; it sends you here to be let in.")),
  }).element;
}

function nameOf(grant) {
  return (grant.client?.name || grant.client?.id || "the client").slice(0, 60);
}

function clientCell(client) {
  return h("span", { class: "stacked" }, h("strong", {}, safe(client.name || client.id, { lines: 1, most: 60, button: false })),
    h("span", { class: "muted small" }, client.host ? safe(client.host, { lines: 1, most: 80 }) : "a name of its own choice"));
}

async function logins(signal) {
  const items = (await readServers(signal)).filter((one) => one.login && (one.login.credentials === "per-user" || one.server_type === "user"));
  return table({
    columns: [
      { title: "Server", cell: serverCell },
      { title: "Login", cell: (one) => loginBadge(one.login) },
      { title: "Ends", cell: (one) => (one.login.expires_at ? time(one.login.expires_at) : "–") },
      { title: "Actions", class: "actions", cell: (one) => link(`${pageOf(one)}?connect=1`, one.login.state === "ready" ? "Change" : "Connect") },
    ],
    rows: items, key: (one) => `${one.server_type}/${one.id}`, label: "Logins at servers",
    empty: empty("No server asks you for a login", "Servers where each user logs in by oneself are listed here."),
  }).element;
}

function serverCell(one) {
  const made = link(pageOf(one), safe(one.name, { lines: 1, most: 60, button: false }));
  made.dataset.open = "";
  return made;
}

async function readServers(signal) {
  const items = [];
  let cursor = null;
  for (let index = 0; index < MOST_PAGES; index++) {
    const found = await get("/v1/servers", { limit: 200, cursor }, { signal });
    items.push(...found.items);
    if (!(cursor = found.next_cursor)) break;
  }
  return items;
}
