// What servers offer, to be taken into a bundle.

import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button, empty, failure, field, loading, table } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { KINDS } from "./bundle_words.js";

const MOST_SHOWN = 200;

/**
 * Make the panel.
 * @param {import("./offers.js").Offers} offers @param {string[]} servers
 * @param {(entry: any) => void} choose @param {(entry: any) => boolean} has true of what is in already
 */
export function picker(offers, servers, choose, has) {
  if (!servers.length) return h("section", { class: "access-section" }, empty("No servers yet", ["Bundles are made of system servers: ", link("/servers?add=paste", "add one"), "."]));
  return new Picker(offers, servers, choose, has).element;
}

class Picker {
  constructor(offers, servers, choose, has) {
    Object.assign(this, { offers, choose, has });
    this.server = h("select", { name: "pick-server" }, servers.map((name) => h("option", { value: name, text: name })));
    this.kind = h("select", { name: "pick-kind" }, Object.entries(KINDS).map(([value, text]) => h("option", { value, text: `${text}s` })));
    this.words = h("input", { type: "search", autocomplete: "off", placeholder: "Part of a name or a description" });
    this.place = h("div", { class: "stack" });
    /** @type {import("./offers.js").Offer[]} */
    this.found = [];
    this.element = h("section", { class: "access-section" }, h("h2", { text: "Add" }),
      h("div", { class: "tool-filters" }, field("Server", this.server), field("What", this.kind), field("Find", this.words)), this.place);
    this.server.addEventListener("change", () => this.load());
    this.kind.addEventListener("change", () => this.load());
    this.words.addEventListener("input", () => this.show());
    this.load();
  }

  get all() {
    return { kind: this.kind.value, server: this.server.value, source: "*" };
  }

  async load() {
    const { server, kind } = this.all;
    replace(this.place, loading());
    try {
      const found = await this.offers.of(server, kind);
      if (server !== this.server.value || kind !== this.kind.value) return;
      this.found = found;
      this.show();
    } catch (error) {
      if (error.name !== "AbortError") replace(this.place, failure(error, () => this.load()));
    }
  }

  show() {
    const wanted = this.words.value.trim().toLowerCase();
    const fitting = this.found.filter((one) => !wanted || [one.source, one.title, one.description].some((text) => text?.toLowerCase().includes(wanted)));
    const shown = fitting.slice(0, MOST_SHOWN);
    const columns = [
      { title: "Name", cell: (one) => h("code", {}, safe(one.source, { lines: 1, most: 80, button: false })) },
      { title: "What it does", cell: (one) => safe(one.description || one.title || "", { lines: 1, most: 160, button: false }) },
      { title: "Actions", class: "actions", cell: (one) => this.adder({ ...this.all, source: one.source }, "Add", one.source) },
    ];
    const { kind, server } = this.all;
    const list = table({ columns, rows: shown, key: (one) => one.source, label: "Offered", empty: empty(`No ${KINDS[kind]} fits`, "Choose another server, another kind, or other words.") });
    replace(this.place, list.element,
      h("div", { class: "form-actions" }, this.adder(this.all, `Add all ${KINDS[kind]}s of ${server}`, `all ${KINDS[kind]}s of ${server}`),
        fitting.length > shown.length && h("span", { class: "muted", text: `The first ${number(shown.length)} of ${number(fitting.length)} are shown.` })));
  }

  /** A button that takes an entry; one may be in several times, under different names. */
  adder(entry, label, name) {
    const made = button(label, () => {
      this.choose(entry);
      mark();
    }, { "aria-label": label === "Add" ? `Add ${name.slice(0, 80)}` : null });
    const mark = () => this.has(entry) && replace(made, entry.source === "*" ? "Added" : "Add again");
    mark();
    return made;
  }
}
