// One user, as an operator sees it: a link to log in with, and the tokens.

import { post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { button, failure, field, page } from "../core/parts.js";
import { go, here, link } from "../core/router.js";
import { safe } from "../core/text.js";
import { copyable } from "./handover.js";
import { permissionsPanel } from "./permissions.js";
import { tokenList } from "./token_list.js";
import { revokeAll } from "./user_actions.js";

/** How long a link may wait for its user, in seconds. */
const WAITS = [["600", "10 minutes"], ["3600", "an hour"], ["86400", "a day"], ["604800", "7 days"]];

/** @returns {string} */
export function title() {
  return "User";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, signal }) {
  const route = `/v1/users/${encodeURIComponent(params.id)}`;
  document.title = `${params.id.slice(0, 60)} · nexus-hub`;
  const { head, body } = page(safe(params.id, { lines: 1, most: 64 }), {
    actions: button("Revoke all", async () => (await revokeAll(params.id)) && go(here(), { replace: true }), { kind: "danger" }),
    lead: ["One of ", link("/users", "the users"), ", see also ", link(`/jobs?${new URLSearchParams({ user: params.id })}`, "the jobs"), "."],
  });
  body.append(
    section("Sign-in link", "For somebody who logs in to this console, or lets a client in, without a token.", linkForm(route, params.id)),
    section("Access", "What this user may do, and by which group.", permissionsPanel(params.id, signal)),
    section("Tokens", "For clients and scripts. Each is shown once, when it is made.", tokenList(`${route}/tokens`, { name: params.id, signal })));
  replace(root, head, body);
}

function section(name, lead, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), h("p", { class: "muted", text: lead }), content);
}

function linkForm(route, name) {
  const wait = h("select", {}, WAITS.map(([value, text]) => h("option", { value, text })));
  wait.value = "86400";
  const said = h("div", { class: "given", "aria-live": "polite" });
  const make = async () => {
    replace(said);
    try {
      replace(said, linkPanel(await post(`${route}/links`, { expires_in_seconds: Number(wait.value) }), name, () => replace(said)));
    } catch (error) {
      replace(said, failure(error));
    }
  };
  return h("div", { class: "token-panel" }, h("div", { class: "token-form" }, field("Good for", wait), button("Make a link", make, { kind: "primary" })), said);
}

function linkPanel({ url, expires_at: end }, name, close) {
  return h("section", { class: "card card-pad once", "aria-label": "Sign-in link" },
    h("p", {}, "It logs ", h("strong", {}, safe(name, { lines: 1 })), " in once, and ends ", time(end), ". Pass it on by a safe way: whoever opens it first is in."),
    copyable("Sign-in link", url),
    button("I have it", close));
}
