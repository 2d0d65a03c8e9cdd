// Changes: what servers say anew of their tools, word by word, and what is held until somebody approves it.

import { h } from "../core/dom.js";
import { every } from "../core/live.js";
import { field, page } from "../core/parts.js";
import { setQuery } from "../core/router.js";
import { ChangeList } from "./change_list.js";
import { readAll } from "./lists.js";

const LOOK_SECONDS = 10;

/** @returns {string} */
export function title() {
  return "Changes";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { query, session, signal }) {
  const { head, body } = page("Changes", {
    lead: "What servers offer anew. On a server with pins a tool that is new or was changed is held: nobody sees or calls it until it is approved here.",
  });
  const servers = await readAll("/v1/servers", {}, signal).catch((error) => (error.name === "AbortError" ? Promise.reject(error) : []));
  const which = h("select", { name: "pending" }, h("option", { value: "true", text: "held until approved" }), h("option", { value: "", text: "all of the last time" }));
  const server = h("select", { name: "server" }, h("option", { value: "", text: "All servers" }), servers.map((one) => h("option", { value: one.name, text: one.name.slice(0, 60) })));
  which.value = query.get("all") ? "" : "true";
  server.value = servers.some((one) => one.name === query.get("server")) ? query.get("server") : "";
  const list = new ChangeList(() => ({ server: server.value, pending: which.value }), session, signal);
  for (const one of [which, server]) {
    one.addEventListener("change", () => {
      setQuery({ server: server.value, all: which.value ? null : 1 }, { quiet: true });
      list.load();
    });
  }
  body.append(h("div", { class: "tool-filters" }, field("Show", which), field("Server", server)), list.element);
  root.append(head, body);
  await every(LOOK_SECONDS, () => list.load(), signal);
}
