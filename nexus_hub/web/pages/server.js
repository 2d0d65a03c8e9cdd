// One server: all that is known of it, and what can be done.

import { get, patch } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { every } from "../core/live.js";
import { badge, button, confirm, failure, loading, page, toast } from "../core/parts.js";
import { go, link } from "../core/router.js";
import { safe } from "../core/text.js";
import { ACCESS } from "./access_words.js";
import { ChangeList } from "./change_list.js";
import { omitted, remove, sync, test } from "./server_actions.js";
import { LoginPart } from "./server_login.js";
import { settingsForm } from "./server_settings.js";
import { toolsOf } from "./server_tools.js";
import { adviceOf, errorText, health, limitCell, offers } from "./server_words.js";

const REFRESH_SECONDS = 10;
const TOOLS = 200;

/** @returns {string} */
export function title() {
  return "Server";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, query, session, signal }) {
  const route = `/v1/servers/${encodeURIComponent(params.type)}/${encodeURIComponent(params.id)}`;
  const server = await get(route, {}, { signal });
  document.title = `${server.name.slice(0, 60)} · nexus-hub`;
  const made = new ServerPage(root, route, server, session, signal, query.has("connect"));
  await Promise.all([made.showTools(), made.showHeld()]);
  every(REFRESH_SECONDS, () => made.load(), signal).catch(() => {});
}

class ServerPage {
  constructor(root, route, server, session, signal, isAsked) {
    this.route = route;
    this.server = server;
    this.signal = signal;
    this.mayChange = session.is_operator || server.server_type === "user";
    this.said = h("div", { class: "said", "aria-live": "polite" });
    this.login = new LoginPart({ session, isAsked, load: () => this.load() });
    this.state = h("div", { class: "server-state" });
    this.facts = h("dl", { class: "facts card card-pad" });
    this.errors = h("div", {});
    this.tools = h("div", {}, loading());
    this.actions = h("div", { class: "page-actions" });
    this.changes = new ChangeList(() => ({ server: server.id, pending: true }), session, signal, () => this.load());
    this.held = section("Held until approved", this.changes.element);
    this.held.hidden = true;
    const { head, body } = page(safe(server.name, { most: 60 }), {
      lead: [server.transport === "http" ? "At " : "By ", h("code", {}, safe(server.endpoint ?? server.transport, { lines: 1, most: 200 }))],
      actions: this.actions,
    });
    body.append(this.said, this.login.element, this.state, this.held, section("What is known", this.facts), section("Errors of the last day", this.errors));
    if (this.mayChange) body.append(section("Limits, jobs and access", settingsForm(server, route, () => this.load())));
    body.append(section("Tools", this.tools));
    this.show(server);
    replace(root, head, body);
    this.login.greet();
  }

  showActions(server) {
    const isOff = server.enabled === false;
    if (isOff === this.isOff) return;
    this.isOff = isOff;
    replace(this.actions, this.mayChange && [
      !isOff && [button("Sync tools", () => this.act(sync), { kind: "primary" }), button("Test", () => this.act(test))],
      button(isOff ? "Switch on" : "Switch off", () => this.toggle(isOff), { kind: isOff ? "primary" : "plain" }),
      button("Remove", () => this.remove(), { kind: "danger" }),
    ]);
  }

  async toggle(isOff) {
    const text = "It is contacted no more, and nobody sees or calls what it offers until it is switched on again.";
    if (!isOff && !(await confirm(`Switch ${this.server.name} off?`, text, { label: "Switch off" }))) return;
    await patch(this.route, { enabled: isOff });
    toast(isOff ? `${this.server.name} is on.` : `${this.server.name} is off.`);
    await this.load();
  }

  async showHeld() {
    if (this.server.held > 0) await this.changes.load();
    this.held.hidden = !(this.server.held > 0);
  }

  show(server) {
    const text = JSON.stringify(server);
    if (text === this.shown) return;
    this.shown = text;
    this.server = server;
    this.login.show(server);
    this.showActions(server);
    replace(this.state, stateOf(server));
    replace(this.facts, factsOf(server));
    replace(this.errors, errorsOf(server));
  }

  async load() {
    const before = toolMark(this.server);
    this.show(await get(this.route, {}, { signal: this.signal }));
    await this.showHeld();
    if (toolMark(this.server) !== before) await this.showTools();
  }

  async showTools() {
    try {
      const [path, which] = this.mayChange ? [`${this.route}/tools`, {}] : ["/v1/tools", { server: this.server.id }];
      const found = await get(path, { ...which, limit: TOOLS }, { signal: this.signal });
      replace(this.tools, toolsOf(found, this.server, this.mayChange));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      replace(this.tools, failure(error, () => this.showTools()));
    }
  }

  /** Do something to the server, and say what came of it. */
  async act(f) {
    replace(this.said, await f(this.server, this.signal));
    await this.load();
  }

  async remove() {
    if (!(await remove(this.server))) return;
    toast(`${this.server.name} is removed.`);
    go("/servers");
  }
}

/** What changes when other tools are to be shown. */
function toolMark({ catalog, held, enabled, pin }) {
  return JSON.stringify([catalog?.read_at, held, enabled, pin]);
}

function section(name, content) {
  return h("section", { class: "server-section" }, h("h2", { text: name }), content);
}

function stateOf(server) {
  const { state, word, detail, advice } = health(server);
  const { circuit = {} } = server;
  return h("div", { class: "card card-pad" },
    h("p", {}, badge(state, word), " ", h("span", { class: "muted" }, detail)),
    circuit.reason && circuit.state !== "closed" && h("p", {}, "The last try: ", safe(circuit.reason, { lines: 3, most: 400 })),
    advice.length > 0 && h("p", {}, h("strong", { text: "What to do: " }), advice));
}

function factsOf(server) {
  const { catalog = {}, circuit = {} } = server;
  const info = server.server_info ?? {};
  const rows = [
    ["Offers", offers(server).join(", ")],
    ["Catalog read", time(catalog.read_at)],
    ["Read again", catalog.expires_at ? time(catalog.expires_at) : "when asked"],
    ["Failed tries since", number(catalog.failures ?? 0)],
    ["Last fault of reading", catalog.error ? safe(catalog.error, { lines: 3, most: 300 }) : "none"],
    ["Circuit", [badge(circuit.state ?? "closed", CIRCUITS[circuit.state] ?? "closed"), circuit.since && circuit.state !== "closed" && [" since ", time(circuit.since)]]],
    ["Tried again", circuit.until && circuit.state !== "closed" ? time(circuit.until) : "–"],
    ["Limit in use", limitCell(server)],
    ["Transport", server.transport === "http" ? "streamable HTTP" : "stdio, started by the hub"],
    ["Protocol", server.protocol_version ?? "not known yet"],
    ["Calls itself", info.name ? safe(`${info.name} ${info.version ?? ""}`, { lines: 1, most: 80 }) : "not known yet"],
    ["Tags", server.tags?.length ? safe(server.tags.join(", "), { lines: 2, most: 200 }) : "none"],
    ["Pins", server.pin ? "new and changed tools are held" : "none: what it offers is taken as it is"],
    server.server_type === "system" && ["Access", server.access ? ACCESS[server.access].split(":")[0] : "as the hub’s default says"],
    ["Owner", server.owner ? safe(server.owner, { lines: 1, most: 60 }) : server.server_type === "system" ? "everybody" : "a user"],
    ["Registered", time(server.created_at)],
    ["Reference", h("code", { text: `${server.server_type}/${server.id}` })],
  ];
  return [rows.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value))), server.omitted?.length ? h("div", { class: "wide" }, h("dt", { text: "Not taken" }), h("dd", {}, omitted(server))) : null];
}

const CIRCUITS = { closed: "closed: calls go through", open: "open: calls are refused", "half-open": "half-open: being tried" };

function errorsOf(server) {
  const errors = server.last_errors ?? [];
  if (!errors.length) return h("p", { class: "muted", text: "None. Calls that fail are shown here with their job." });
  return h("ul", { class: "errors" }, errors.map((one) => h("li", { class: "card card-pad" },
    h("p", {}, time(one.at), " ", badge("error", one.code), one.job_id && [" ", link(`/jobs/${one.job_id}`, "its job")]),
    h("p", {}, errorText(one, { lines: 5 })),
    adviceOf(one.code) && h("p", { class: "muted", text: adviceOf(one.code) }))));
}
