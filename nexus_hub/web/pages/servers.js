// The servers: how they are, what they offer, and ways to add some.

import { get } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { every } from "../core/live.js";
import { badge, button, empty, failure, loading, page, table } from "../core/parts.js";
import { link, setQuery } from "../core/router.js";
import { safe } from "../core/text.js";
import { sync, test } from "./server_actions.js";
import { addForm } from "./server_add.js";
import { pastePanel } from "./server_paste.js";
import { mayLogIn } from "./server_login.js";
import { errorText, healthCell, limitCell, needsLogin, offers, pageOf } from "./server_words.js";

const REFRESH_SECONDS = 10;
const PAGE = 200;
const FILTERED_FROM = 8;

/** @returns {string} */
export function title() {
  return "Servers";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, context) {
  const made = new ServersPage(root, context);
  if (context.query.get("add")) made.open(context.query.get("add"));
  await made.begin();
}

class ServersPage {
  constructor(root, { session, signal }) {
    this.session = session;
    this.signal = signal;
    this.items = [];
    this.pages = 1;
    this.panel = h("div", { class: "panel" });
    this.said = h("div", { class: "said", "aria-live": "polite" });
    this.place = h("div", {}, loading());
    this.search = h("input", { type: "search", "aria-label": "Filter servers by name", placeholder: "Filter by name", name: "filter", on: { input: () => this.show() } });
    this.filter = h("div", { class: "filters", hidden: true }, this.search);
    this.more = button("Show more", () => this.loadMore(), { hidden: true });
    this.list = listOf(this);
    const { head, body } = page("Servers", {
      lead: session.is_operator ? "All MCP servers that this hub calls." : "The MCP servers that you may call.",
      actions: [button([icon("plus"), "Paste mcp.json"], () => this.open("paste")), button([icon("plus"), "Add server"], () => this.open("form"), { kind: "primary" })],
    });
    body.append(this.panel, this.said, this.filter, this.place);
    replace(root, head, body);
  }

  begin() {
    return every(REFRESH_SECONDS, () => this.load(), this.signal).catch((error) => {
      if (error.name === "AbortError") throw error;
      replace(this.place, failure(error, () => this.load()));
    });
  }

  /** Open a way to add servers. @param {string} kind `paste` or `form` */
  open(kind) {
    const { session, signal } = this;
    const context = { session, signal, close: () => this.close(), done: () => this.load().catch(() => {}) };
    replace(this.panel, kind === "paste" ? pastePanel(context) : addForm(context));
    setQuery({ add: kind }, { quiet: true });
    this.panel.querySelector("input, textarea").focus();
  }

  close() {
    replace(this.panel);
    setQuery({ add: null }, { quiet: true });
  }

  async load() {
    const found = await readPages(this.pages, this.signal);
    // A row that is the same object is left as it is: with its focus, and with what its buttons are busy with.
    const known = new Map(this.items.map((one) => [JSON.stringify(one), one]));
    this.items = found.items.map((one) => known.get(JSON.stringify(one)) ?? one);
    this.filter.hidden = found.items.length < FILTERED_FROM;
    this.more.hidden = !found.next_cursor;
    this.show();
    if (!this.list.element.isConnected) replace(this.place, this.list.element, this.more);
  }

  async loadMore() {
    this.pages += 1;
    await this.load();
  }

  show() {
    const wanted = this.search.value.trim().toLowerCase();
    this.list.update(this.items.filter((one) => one.name.toLowerCase().includes(wanted)));
  }

  /** Do something to a server, and say what came of it. */
  async act(f, server) {
    replace(this.said, await f(server, this.signal));
    await this.load();
  }
}

async function readPages(pages, signal) {
  const items = [];
  let cursor = null;
  for (let index = 0; index < pages; index++) {
    const found = await get("/v1/servers", { limit: PAGE, cursor }, { signal });
    items.push(...found.items);
    if (!(cursor = found.next_cursor)) break;
  }
  return { items, next_cursor: cursor };
}

/** @param {ServersPage} shown */
function listOf(shown) {
  const { session } = shown;
  const columns = [
    { title: "Server", cell: nameCell },
    { title: "State", cell: healthCell },
    { title: "Offers", cell: offersCell },
    { title: "Limit in use", cell: limitCell },
    { title: "Last error", class: "last-error", cell: lastError },
    {
      title: "Actions", class: "actions", cell: (one) => h("span", { class: "row-actions" }, connectLink(one, session),
        one.enabled !== false && (session.is_operator || one.server_type === "user") && [
          button("Sync tools", () => shown.act(sync, one), { "aria-label": `Sync tools of ${one.name}` }), button("Test", () => shown.act(test, one), { "aria-label": `Test ${one.name}` }),
        ]),
    },
  ];
  const nothing = empty("No servers yet", "Add the first one: paste the mcp.json of your client, or give its URL or command.",
    h("div", { class: "form-actions" }, button("Paste mcp.json", () => shown.open("paste"), { kind: "primary" }), button("Add server", () => shown.open("form"))));
  return table({ columns, rows: [], key: (one) => one.id, empty: nothing, label: "Servers" });
}

/** The way to a login, where one is needed and who looks may give it. */
function connectLink(one, session) {
  if (!needsLogin(one) || !mayLogIn(one, session)) return null;
  const made = link(`${pageOf(one)}?connect=1`, "Connect");
  made.className = "button button-primary";
  made.setAttribute("aria-label", `Connect ${one.name}`);
  return made;
}

function nameCell(one) {
  const name = link(pageOf(one), safe(one.name, { lines: 1, most: 60 }));
  name.dataset.open = "";
  const where = one.transport === "http" ? "at" : "by";
  return h("span", { class: "server-name" }, name, h("span", { class: "muted small" }, one.endpoint ? [`${where} `, safe(one.endpoint, { lines: 1, most: 120, button: false })] : one.transport),
    one.owner && h("span", { class: "muted small" }, "of the user ", safe(one.owner, { lines: 1, most: 60 })));
}

function offersCell(one) {
  const [tools, ...others] = offers(one);
  return h("span", { class: "server-offers" }, tools, others.length > 0 && h("span", { class: "muted small", text: others.join(", ") }),
    one.held > 0 && badge("waiting", `${number(one.held)} held`), h("span", { class: "muted small" }, one.catalog?.read_at ? ["read ", time(one.catalog.read_at)] : "not read yet"));
}

function lastError(one) {
  const [last] = one.last_errors ?? [];
  if (!last) return h("span", { class: "muted quiet", text: "none of the last day" });
  return h("span", {}, last.job_id ? link(`/jobs/${last.job_id}`, time(last.at)) : time(last.at), " ", h("span", { class: "small clamp" }, errorText(last, { lines: 2 })));
}
