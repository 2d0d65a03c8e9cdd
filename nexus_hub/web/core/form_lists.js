// Lists in a form, and values that have one of several forms.

import { h, replace } from "./dom.js";
import { slot } from "./form_slot.js";
import { bare, isObject, write } from "./json_text.js";
import { fitOf } from "./schema.js";
import { visible } from "./text.js";

const MOST_SHOWN = 100;
const MOST_STARTED = 10;
const LONGEST_OPTION = 120;

/** @param {import("./schema.js").Described} found */
export function listPart(found, _mark, _required, scope, place) {
  return new ListPart(found.flat, scope, place);
}

class ListPart {
  constructor(flat, scope, place) {
    this.flat = flat;
    this.scope = scope;
    this.place = place;
    this.fixed = Array.isArray(flat.prefixItems) ? flat.prefixItems : Array.isArray(flat.items) ? flat.items : [];
    this.rest = Array.isArray(flat.items) ? (flat.additionalItems ?? true) : (flat.items ?? true);
    this.least = Number(flat.minItems ?? 0) || 0;
    this.most = Number(flat.maxItems ?? Infinity);
    /** @type {{value: any, element: HTMLElement}[]} */
    this.items = [];
    /** Values beyond those that are shown. @type {any[]} */
    this.tail = [];
    this.list = h("ol", { class: "form-items" });
    this.more = h("button", { type: "button", class: "link", on: { click: () => this.take(MOST_SHOWN) } });
    this.offer = h("button", { type: "button", class: "button button-plain", on: { click: () => this.offerOne() } }, "Add an item");
    this.element = h("div", { class: "form-members" }, this.list, this.more, this.offer);
    for (let index = 0; index < Math.min(this.least, MOST_STARTED) && scope.auto > 0; index++) this.insert();
    this.settle();
  }

  read() {
    const values = [...this.items.map((item) => item.value.read()), ...this.tail];
    return values.map((value) => (value === undefined ? null : value));
  }

  write(values) {
    const shown = Math.min(values.length, Math.max(MOST_SHOWN, this.items.length));
    for (const item of this.items.splice(shown)) item.element.remove();
    this.items.forEach((item, index) => item.value.write(values[index]));
    this.tail = values.slice(this.items.length);
    this.take(shown - this.items.length);
  }

  check(report) {
    const count = this.items.length + this.tail.length;
    if (count < this.least) report(`must have at least ${this.least} items; it has ${count}`);
    if (count > this.most) report(`must have at most ${this.most} items; it has ${count}`);
    if (this.flat.uniqueItems === true && new Set(this.read().map((one) => write(one))).size < count) report("has an item twice");
    for (const item of this.items) item.value.check(report.parent);
  }

  locate(text) {
    const [step] = text.split(".", 1);
    return this.items[Number(step)]?.value.locate(text.slice(step.length + 1)) ?? null;
  }

  offerOne() {
    this.insert().focus();
    this.settle();
    this.scope.changed();
  }

  insert() {
    const item = { value: null, element: h("li", { class: "form-item" }) };
    const index = this.items.length;
    const schema = index < this.fixed.length ? this.fixed[index] : this.rest;
    const where = () => [...this.place.where(), this.items.indexOf(item)];
    this.items.push(item);
    item.value = slot(schema, this.scope, { name: `item ${index + 1}`, where, required: true, isItem: true, level: this.place.level + 1 });
    item.element.append(this.toolsOf(item, index < this.fixed.length), item.value.element);
    this.list.append(item.element);
    return item.value;
  }

  toolsOf(item, isFixed) {
    const act = (label, f) => h("button", { type: "button", class: "link", text: label, "aria-label": `${label} this item`, on: { click: f } });
    const moves = isFixed ? [] : [act("Up", () => this.move(item, -1)), act("Down", () => this.move(item, 1))];
    return h("span", { class: "form-tools" }, moves, act("Remove", () => this.remove(item)));
  }

  /** Remove an item; what follows one of the fixed ones moves into its place. */
  remove(item) {
    const at = this.items.indexOf(item);
    if (at < this.fixed.length) this.write(this.read().filter((_, index) => index !== at));
    else {
      this.items.splice(at, 1);
      item.element.remove();
    }
    this.settle();
    this.scope.changed();
    this.offer.focus();
  }

  move(item, by) {
    const from = this.items.indexOf(item), to = from + by;
    if (to < this.fixed.length || to >= this.items.length) return;
    this.items.splice(to, 0, this.items.splice(from, 1)[0]);
    const focused = document.activeElement;
    replace(this.list, this.items.map((one) => one.element));
    focused?.focus();
    this.scope.changed();
  }

  /** Show so many of the values that are not shown yet. */
  take(count) {
    for (const value of this.tail.splice(0, count)) this.insert().write(value);
    this.settle();
  }

  settle() {
    const left = this.tail.length;
    const isFull = this.items.length >= this.most || (this.rest === false && this.items.length >= this.fixed.length);
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${Math.min(left, MOST_SHOWN)} more of ${left} items`;
    this.offer.hidden = left > 0 || isFull;
  }
}

/** @param {import("./schema.js").Described} found @param {{id: string}} mark */
export function choicePart(found, mark, _required, scope, place) {
  return new ChoicePart(found, mark, scope, place);
}

class ChoicePart {
  constructor({ choices, flat }, mark, scope, place) {
    this.choices = choices;
    this.flat = flat;
    this.scope = scope;
    this.place = place;
    /** The forms that were looked at, with what was typed there. @type {Map<number, any>} */
    this.made = new Map();
    this.current = 0;
    const options = choices.map((one, index) => h("option", { value: String(index), text: visible(one.title.slice(0, LONGEST_OPTION)) }));
    this.control = h("select", { ...mark, "aria-label": `Form of ${place.name.slice(0, 80)}`, on: { change: (event) => this.switchTo(event) } }, options);
    this.body = h("div", {});
    this.element = h("div", { class: "form-choice" }, this.control, this.body);
    this.choose(0);
  }

  get chosen() {
    const index = this.current;
    if (!this.made.has(index)) {
      const { schema, title } = this.choices[index];
      const place = { ...this.place, name: title, required: true, level: this.place.level + 1, plain: true };
      this.made.set(index, slot(schema, this.scope, place));
    }
    return this.made.get(index);
  }

  read() {
    return this.chosen.read();
  }

  write(value) {
    const fits = this.choices.map((one) => fitOf(value, one.schema, this.scope.root));
    const best = Math.max(...fits);
    if (fits[this.current] < best) this.choose(fits.indexOf(best));
    this.chosen.write(value);
  }

  check(report) {
    this.chosen.check(report.parent);
  }

  locate(text) {
    return this.chosen.locate(text);
  }

  choose(index) {
    this.current = index;
    this.control.value = String(index);
    replace(this.body, this.chosen.element);
  }

  switchTo(event) {
    event.stopPropagation();
    const next = Number(this.control.value);
    const isNew = !this.made.has(next);
    const before = this.read();
    this.choose(next);
    if (isNew) this.keepCommon(before);
    this.scope.changed();
  }

  /** Carry over what all forms of an object have. */
  keepCommon(before) {
    const now = this.read();
    if (!isObject(before) || !isObject(this.flat.properties) || !isObject(now)) return;
    const kept = Object.keys(this.flat.properties).filter((name) => name in before).map((name) => [name, before[name]]);
    this.chosen.write(bare([...Object.entries(now), ...kept]));
  }
}
