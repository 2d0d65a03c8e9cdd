// The part of the form for a new server that says how the hub logs in there.

import { h } from "../core/dom.js";
import { revealing } from "../core/form_scalars.js";
import { field } from "../core/parts.js";

const QUIET = { autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
const KINDS = {
  "": "as the server says: none, or OAuth",
  oauth: "OAuth, with more to say",
  header: "a key in a header, given afterwards",
};
const WHOSE = { shared: "one for all who call it", "per-user": "each user has an own one" };

/**
 * Make the fields.
 * @param {any} session
 * @returns {{element: HTMLElement, read: () => Record<string, any>}}
 */
export function loginFields(session) {
  const kind = choice(KINDS);
  const whose = choice(WHOSE);
  const text = (props = {}) => h("input", { type: "text", ...QUIET, ...props });
  const client = { client_id: text(), client_secret: text({ type: "password" }), scope: text(), issuer: text({ type: "url" }) };
  const header = { header: text({ value: "Authorization" }), prefix: text({ value: "Bearer " }) };
  const secret = field("Client secret", client.client_secret, "Left empty: it has none.");
  secret.querySelector("label").after(revealing(client.client_secret));
  const parts = {
    oauth: h("div", { class: "form-columns" }, field("Client id", client.client_id, "Of a client that was registered there; left empty: the hub registers itself."), secret,
      field("Scopes", client.scope, "Left empty: those that the server names."),
      field("Issuer", client.issuer, "Left empty: what the server names. One in the hub’s own network is to be named.")),
    header: h("div", { class: "form-columns" }, field("Header", header.header), field("Before the key", header.prefix, "Such as Bearer and a space.")),
  };
  const show = () => Object.entries(parts).forEach(([name, part]) => (part.hidden = name !== kind.value));
  kind.addEventListener("change", show);
  show();
  const read = () => ({
    ...(kind.value === "oauth" && { login: { kind: "oauth", ...filled(client) } }),
    ...(kind.value === "header" && { login: { kind: "header", header: header.header.value.trim(), prefix: header.prefix.value } }),
    ...(whose.value === "per-user" && { credentials: "per-user" }),
  });
  const element = h("div", { class: "form-grid" },
    h("div", { class: "form-columns" },
      field("Login", kind, "The hub finds out by itself if the server wants OAuth."),
      session.is_operator && field("Whose login", whose, "With one of each user, nobody’s calls use another’s.")),
    Object.values(parts));
  return { element, read };
}

function choice(words) {
  return h("select", {}, Object.entries(words).map(([value, text]) => h("option", { value, text })));
}

function filled(inputs) {
  return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value !== ""));
}
