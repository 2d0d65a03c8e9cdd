// The editor of a bundle: its words, and its entries, stored together.

import { put } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button, empty, failure, field, toast } from "../core/parts.js";
import { ACCESS } from "./access_words.js";
import { EntryEditor } from "./bundle_entry.js";
import { picker } from "./bundle_pick.js";
import { NAME } from "./bundle_words.js";
import { Offers } from "./offers.js";

/**
 * Make the editor.
 * @param {any} bundle @param {string} route @param {(bundle: {name: string}) => void} done @param {AbortSignal} signal
 * @returns {Promise<HTMLElement>}
 */
export async function bundleEditor(bundle, route, done, signal) {
  const offers = new Offers(signal);
  return new BundleEditor(bundle, route, done, offers, await offers.servers()).element;
}

class BundleEditor {
  constructor(bundle, route, done, offers, servers) {
    Object.assign(this, { route, done, offers });
    this.name = h("input", { type: "text", required: true, pattern: NAME, maxlength: 32, autocomplete: "off", spellcheck: "false", value: bundle.name });
    this.title = h("input", { type: "text", maxlength: 200, autocomplete: "off", value: bundle.title ?? "" });
    this.instructions = h("textarea", { rows: "3", value: bundle.instructions ?? "" });
    this.access = h("select", {}, [["", "as the hub’s default says"], ...Object.entries(ACCESS)].map(([value, text]) => h("option", { value, text })));
    this.access.value = bundle.access ?? "";
    this.heading = h("h2", {});
    this.list = h("ul", { class: "entries" });
    this.nothing = empty("It is empty", "Choose below what belongs to it.");
    this.wrong = h("div", {});
    /** @type {EntryEditor[]} */
    this.entries = [];
    for (const entry of bundle.entries ?? []) this.add(entry);
    this.element = h("div", { class: "page-body" },
      h("section", { class: "card card-pad form-grid" },
        h("div", { class: "form-columns" }, field("Name", this.name, "It stands in the endpoint’s address: clients have to be told of another one."), field("Title", this.title), field("Access", this.access)),
        field("What a client is told when it connects", this.instructions)),
      h("section", { class: "access-section" }, this.heading, this.nothing, this.list),
      picker(offers, servers, (entry) => this.choose(entry), (entry) => this.has(entry)),
      this.wrong,
      h("div", { class: "form-actions save-bar" }, button("Save bundle", () => this.save(), { kind: "primary" }), button("Cancel", () => done(bundle))));
    this.show();
  }

  show() {
    const count = this.entries.length;
    replace(this.heading, `${number(count)} ${count === 1 ? "entry" : "entries"}`);
    this.nothing.hidden = count > 0;
  }

  has({ kind, server, source }) {
    return this.entries.some(({ entry }) => entry.kind === kind && entry.server === server && entry.source === source);
  }

  add(entry) {
    const made = new EntryEditor(entry, this.offers, () => this.remove(made));
    this.entries.push(made);
    this.list.append(made.element);
    return made;
  }

  /** Take what the picker offers. */
  choose(entry) {
    this.add(entry);
    this.show();
  }

  remove(made) {
    const at = this.entries.indexOf(made);
    this.entries.splice(at, 1);
    made.element.remove();
    this.show();
    (this.entries[Math.min(at, this.entries.length - 1)]?.element.querySelector("summary") ?? this.heading).focus();
  }

  async save() {
    replace(this.wrong);
    if (!this.name.reportValidity()) return;
    for (const one of this.entries) if (!(await one.check())) return;
    const name = this.name.value.trim();
    const entries = this.entries.map((one) => one.read());
    const words = { title: this.title.value.trim() || null, instructions: this.instructions.value.trim() || null, access: this.access.value || null };
    try {
      await put(this.route, { name, ...words, entries });
      toast("Saved.");
      this.done({ name });
    } catch (error) {
      replace(this.wrong, failure(error));
    }
  }
}
