// Objects in a form: their declared properties, and rows for further ones.

import { h } from "./dom.js";
import { FurtherRows } from "./form_rows.js";
import { slot } from "./form_slot.js";
import { bare, isObject } from "./json_text.js";

const FIRST = 30;
const FIRST_NEEDED = 100;
const NEXT = 50;

/** @param {import("./schema.js").Described} found */
export function objectPart(found, _mark, _required, scope, place) {
  return new ObjectPart(found.flat, scope, place);
}

class ObjectPart {
  constructor(flat, scope, place) {
    this.scope = scope;
    this.place = place;
    this.properties = isObject(flat.properties) ? flat.properties : {};
    this.names = Object.keys(this.properties);
    this.needed = new Set((Array.isArray(flat.required) ? flat.required : []).filter((name) => typeof name === "string"));
    /** @type {Map<string, any>} */
    this.children = new Map();
    /** Values of properties that are not shown yet. @type {Map<string, any>} */
    this.unshown = new Map();
    this.rows = new FurtherRows(flat, this.needed, scope, place);
    this.list = h("div", { class: "form-list" });
    this.more = h("button", { type: "button", class: "link", on: { click: () => this.showNext() } });
    this.element = h("div", { class: "form-members" }, this.list, this.more, this.rows.element);
    const needed = this.names.filter((name) => this.needed.has(name)).slice(0, FIRST_NEEDED);
    const first = new Set([...needed, ...this.names.slice(0, FIRST)]);
    this.names.filter((name) => first.has(name)).forEach((name) => this.add(name));
    this.tellLeft();
  }

  isDeclared(name) {
    return Object.hasOwn(this.properties, name);
  }

  /** Show a property, with the value that it has got meanwhile. */
  add(name) {
    if (this.children.has(name)) return this.children.get(name);
    const where = () => [...this.place.where(), name];
    const made = slot(this.properties[name], this.scope, { name, where, required: this.needed.has(name), level: this.place.level + 1 });
    if (this.unshown.has(name)) made.write(this.unshown.get(name));
    this.unshown.delete(name);
    this.children.set(name, made);
    this.list.append(made.element);
    this.tellLeft();
    return made;
  }

  tellLeft() {
    const left = this.names.length - this.children.size;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${Math.min(left, NEXT)} more of ${left} properties`;
  }

  showNext() {
    this.names.filter((name) => !this.children.has(name)).slice(0, NEXT).forEach((name) => this.add(name));
  }

  read() {
    const declared = this.names.map((name) => [name, this.children.has(name) ? this.children.get(name).read() : this.unshown.get(name)]);
    return bare([...declared.filter(([, value]) => value !== undefined), ...this.rows.read()]);
  }

  write(value) {
    const given = Object.entries(value);
    this.unshown = new Map(given.filter(([name]) => this.isDeclared(name) && !this.children.has(name)));
    for (const [name, child] of this.children) child.write(Object.hasOwn(value, name) ? value[name] : undefined);
    [...this.unshown.keys()].slice(0, NEXT).forEach((name) => this.add(name));
    this.rows.write(given.filter(([name]) => !this.isDeclared(name)));
  }

  check(report) {
    for (const name of this.needed) {
      if (this.isDeclared(name)) this.unshown.has(name) || this.add(name);
      else if (!this.rows.has(name)) report(`needs the property ${name.slice(0, 80)}`);
    }
    for (const child of this.children.values()) child.check(report.parent);
    this.rows.check(report);
  }

  /** Find the place of a path that is written with dots; a name may hold dots itself. */
  locate(text) {
    const fits = (name) => text === name || text.startsWith(`${name}.`);
    const name = [...this.names, ...this.rows.names()].filter(fits).sort((a, b) => b.length - a.length)[0];
    if (name === undefined) return null;
    const child = this.isDeclared(name) ? this.add(name) : this.rows.get(name);
    return child.locate(text.slice(name.length + 1));
  }
}
