// One entry of a bundle in the editor: its name and words there, and its arguments.

import { h, icon, replace } from "../core/dom.js";
import { button, failure, field, loading } from "../core/parts.js";
import { safe } from "../core/text.js";
import { ArgumentsEditor } from "./bundle_arguments.js";
import { KINDS, changesOf, nameOf } from "./bundle_words.js";

export class EntryEditor {
  /** @param {any} entry @param {import("./offers.js").Offers} offers @param {() => void} remove */
  constructor(entry, offers, remove) {
    this.entry = entry;
    this.offers = offers;
    const text = (value) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", value: value ?? "" });
    this.name = text(entry.name);
    this.title = text(entry.title);
    this.description = h("textarea", { rows: "2", value: entry.description ?? "" });
    this.head = h("span", { class: "entry-head" });
    /** @type {ArgumentsEditor | null} */
    this.arguments = null;
    const body = h("div", { class: "entry-body" });
    const details = h("details", { on: { input: () => this.show(), change: () => this.show() } }, h("summary", {}, this.head), body);
    details.addEventListener("toggle", () => details.open && !body.firstChild && this.open(body));
    this.details = details;
    const away = button(icon("cross"), remove, { class: "button-bare", "aria-label": `Take out ${nameOf(entry).slice(0, 80)}`, title: "Take out" });
    this.element = h("li", { class: "card entry" }, details, away);
    this.show();
  }

  get isAll() {
    return this.entry.source === "*";
  }

  show() {
    const { kind, server, source } = this.entry;
    const now = this.read();
    replace(this.head,
      this.isAll ? h("strong", { text: `all ${KINDS[kind]}s` }) : h("code", {}, safe(nameOf(now), { lines: 1, most: 70, button: false })),
      h("span", { class: "muted small" }, !this.isAll && [`${KINDS[kind]} `, safe(source, { lines: 1, most: 70, button: false }), " "], "of ", safe(server, { lines: 1, most: 40, button: false })),
      changesOf(now).map((word) => h("span", { class: "badge tone-off", text: word })),
      this.entry.state === "missing" && h("span", { class: "badge tone-warn", text: "not offered now" }));
  }

  async open(body) {
    if (this.isAll) return replace(body, h("p", { class: "muted", text: "Each comes under the name of its server with it. Add one by itself to give it another name, or other words." }));
    replace(body, loading());
    try {
      this.fill(body, await this.offers.find(this.entry));
    } catch (error) {
      if (error.name !== "AbortError") replace(body, failure(error, () => this.open(body)));
    }
  }

  fill(body, offer) {
    const { kind, server, source } = this.entry;
    this.name.placeholder = nameOf({ kind, server, source, name: null });
    this.title.placeholder = offer?.title ?? "";
    this.description.placeholder = offer?.description?.slice(0, 500) ?? "";
    const hasArguments = kind === "tool" || kind === "prompt";
    if (hasArguments) this.arguments = new ArgumentsEditor(offer?.arguments ?? {}, this.entry, () => this.show());
    replace(body,
      !offer && h("p", { class: "tone-warn", text: "Its server does not offer it now: nobody sees it until it does." }),
      h("div", { class: "form-columns" }, hasArguments && field("Name in the bundle", this.name), field("Title", this.title)),
      field("Description", this.description, "What stands here is said in the place of the server’s words."),
      this.arguments?.element);
  }

  /** Find what does not fit, and show it. @returns {Promise<boolean>} true if all fits */
  async check() {
    if (!this.arguments || (await this.arguments.check())) return true;
    this.details.open = true;
    this.arguments.focus();
    return false;
  }

  /** Give the entry as it is to be stored. */
  read() {
    const { kind, server, source } = this.entry;
    const { fixed, hidden } = this.arguments ? this.arguments.read() : this.entry;
    const word = (input) => input.value.trim() || null;
    return { kind, server, source, name: word(this.name), title: word(this.title), description: word(this.description), fixed: fixed ?? {}, hidden: hidden ?? [] };
  }
}
