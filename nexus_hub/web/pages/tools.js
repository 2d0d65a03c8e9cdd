// The tools, searched as an agent's search finds them.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button, empty, failure, field, loading, page, table } from "../core/parts.js";
import { link, setQuery } from "../core/router.js";
import { safe } from "../core/text.js";
import { readAll } from "./lists.js";
import { hintBadges, ownerLink, pageOf } from "./tool_words.js";

const PAGE = 50;
const PAUSE_MS = 250;

/** @returns {string} */
export function title() {
  return "Tools";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { query, signal }) {
  const made = new ToolsPage(root, query, signal);
  await fillFilters(made, query, signal);
  await made.load();
}

class ToolsPage {
  constructor(root, query, signal) {
    this.items = [];
    this.asked = new AbortController();
    this.timer = 0;
    this.search = h("input", { type: "search", name: "query", value: query.get("query") ?? "", placeholder: "What should it do?", autocomplete: "off" });
    this.server = choice("server", "All servers");
    this.bundle = choice("bundle", "No bundle");
    this.tag = choice("tag", "All tags");
    this.isReading = h("input", { type: "checkbox", name: "read_only", checked: query.get("read_only") === "true" });
    this.found = h("p", { class: "muted small", role: "status" });
    this.place = h("div", {}, loading());
    this.more = h("div", { class: "more" });
    this.list = listOf(() => this.words !== "");
    const { head, body } = page("Tools", { lead: "Search in plain words. The order is the one in which an agent that asks the hub gets them." });
    body.append(h("div", { class: "tool-filters", role: "search", "aria-label": "Tools" }, field("Search", this.search), field("Server", this.server),
      field("Bundle", this.bundle), field("Tag", this.tag), field("changes nothing", this.isReading)), this.found, this.place, this.more);
    replace(root, head, body);
    this.search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.change(), PAUSE_MS);
    });
    for (const one of [this.server, this.bundle, this.tag, this.isReading]) one.addEventListener("change", () => this.change());
    signal.addEventListener("abort", () => {
      clearTimeout(this.timer);
      this.asked.abort();
    });
  }

  get words() {
    return this.search.value.trim();
  }

  /** What is looked for, as the API and the address have it. */
  get filters() {
    return { query: this.words, server: this.server.value, bundle: this.bundle.value, tag: this.tag.value, read_only: this.isReading.checked || null };
  }

  change() {
    setQuery(this.filters, { quiet: true });
    return this.load();
  }

  async load() {
    this.asked.abort();
    this.asked = new AbortController();
    this.items = [];
    try {
      this.show(await this.ask(null));
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(this.found);
      replace(this.place, failure(error, () => this.load()));
    }
  }

  ask(cursor) {
    return get("/v1/tools", { ...this.filters, limit: PAGE, cursor }, { signal: this.asked.signal });
  }

  show(answer) {
    const next = answer.next_cursor;
    this.items = [...this.items, ...answer.items];
    this.list.update(this.items);
    if (!this.list.element.isConnected) replace(this.place, this.list.element);
    replace(this.found, foundWords(this.items, answer, this.words));
    replace(this.more, next && button("Show more", async () => this.show(await this.ask(next))));
  }
}

function choice(name, all) {
  return h("select", { name }, h("option", { value: "", text: all }));
}

/** Fill the filters with the servers, bundles and tags that the reader sees; one of which there is none is left out. */
async function fillFilters(made, query, signal) {
  const read = (asked) => asked.catch((error) => {
    if (error.name === "AbortError") throw error;
    return [];
  });
  const [servers, bundles] = await Promise.all([
    read(readAll("/v1/servers", {}, signal)), read(get("/v1/bundles", {}, { signal }).then((found) => found.items)),
  ]);
  const tags = [...new Set(servers.flatMap((one) => one.tags ?? []))].sort();
  fill(made.server, servers.map((one) => [one.id, one.name]), query.get("server"));
  fill(made.bundle, bundles.map((one) => [one.name, one.title ? `${one.name}: ${one.title}` : one.name]), query.get("bundle"));
  fill(made.tag, tags.map((one) => [one, one]), query.get("tag"));
}

function fill(select, options, chosen) {
  const known = chosen && !options.some(([value]) => value === chosen) ? [...options, [chosen, chosen]] : options;
  select.append(...known.map(([value, text]) => h("option", { value, text: text.slice(0, 60) })));
  select.value = chosen ?? "";
  if (select.name !== "server") select.closest(".field").hidden = !known.length;
}

function foundWords(items, answer, query) {
  if (!items.length) return "";
  const count = `${number(items.length)}${answer.next_cursor ? " or more" : ""} tool${items.length === 1 && !answer.next_cursor ? "" : "s"}`;
  const saved = answer.tokens ? ` Their definitions take a model about ${number(answer.tokens.shown)} tokens; all that you may call take ${number(answer.tokens.all)}.` : "";
  return `${count}${query ? ", the best first" : ""}.${saved}`;
}

/** @param {() => boolean} isSearch */
function listOf(isSearch) {
  const columns = [
    { title: "Tool", cell: nameCell },
    { title: "What it does", cell: (one) => safe(one.description || one.title || "", { lines: 2, most: 220, button: false }) },
    { title: "Effect", cell: hintBadges },
    { title: "Of", class: "tool-server", cell: ownerLink },
  ];
  const nothing = h("div", {});
  const made = table({ columns, rows: [], key: (one) => one.id, empty: nothing, label: "Tools" });
  const update = (rows) => {
    replace(nothing, isSearch() ? empty("No tool speaks of that", "Try other or fewer words; the words are looked for in names, titles and descriptions.")
      : empty("No tools yet", ["Tools come with servers: ", link("/servers?add=paste", "add a server"), ", or sync one that is there."]));
    made.update(rows);
  };
  return { element: made.element, update };
}

function nameCell(one) {
  const name = link(pageOf(one), h("code", {}, safe(one.name, { lines: 1, most: 70, button: false })));
  name.dataset.open = "";
  return h("span", { class: "tool-name" }, name, one.title && h("span", { class: "muted small" }, safe(one.title, { lines: 1, most: 80, button: false })),
    one.stale && h("span", { class: "tone-warn small", text: "as it was last read" }));
}
