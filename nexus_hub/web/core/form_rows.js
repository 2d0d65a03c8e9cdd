// Rows of a name and a value, for properties that a schema does not name.

import { h } from "./dom.js";
import { slot } from "./form_slot.js";
import { isObject } from "./json_text.js";
import { newId } from "./parts.js";

const MOST_STARTED = 50;

export class FurtherRows {
  constructor(flat, needed, scope, place) {
    const unnamed = [...needed].filter((name) => !isObject(flat.properties) || !Object.hasOwn(flat.properties, name));
    Object.assign(this, further(flat, unnamed.length > 0), { scope, place });
    /** @type {{name: HTMLInputElement, value: any, element: HTMLElement}[]} */
    this.rows = [];
    this.list = h("div", { class: "form-rows" });
    this.offer = h("button", { type: "button", class: "button button-plain", text: "Add a property", hidden: !this.isOffered });
    this.offer.addEventListener("click", () => {
      this.add("").name.focus();
      scope.changed();
    });
    this.element = h("div", { class: "form-members" }, this.list, this.offer);
    if (this.isOffered) unnamed.slice(0, MOST_STARTED).forEach((name) => this.add(name));
  }

  add(given) {
    const name = h("input", { type: "text", id: newId(), value: given, autocomplete: "off", spellcheck: "false", class: "form-key", "aria-label": "Name of the property" });
    const where = () => [...this.place.where(), name.value];
    const value = slot(this.schema, this.scope, { name: "value", where, required: true, isItem: true, level: this.place.level + 1 });
    const away = h("button", { type: "button", class: "link", text: "Remove", "aria-label": "Remove this property", on: { click: () => this.remove(row) } });
    const row = { name, value, element: h("div", { class: "form-pair" }, name, value.element, away) };
    this.rows.push(row);
    this.list.append(row.element);
    return row;
  }

  remove(row) {
    this.rows = this.rows.filter((one) => one !== row);
    row.element.remove();
    this.scope.changed();
    this.offer.focus();
  }

  names() {
    return this.rows.map((row) => row.name.value);
  }

  has(name) {
    return this.names().includes(name);
  }

  get(name) {
    return this.rows.find((row) => row.name.value === name).value;
  }

  read() {
    return this.rows.filter((row) => row.name.value !== "").map((row) => [row.name.value, row.value.read()]);
  }

  write(entries) {
    const known = new Map(this.rows.map((row) => [row.name.value, row]));
    this.rows.forEach((row) => row.element.remove());
    this.rows = [];
    for (const [name, value] of entries) this.put(known.get(name) ?? this.add(name), value);
  }

  put(row, value) {
    if (!this.rows.includes(row)) this.rows.push(row);
    this.list.append(row.element);
    row.value.write(value);
  }

  check(report) {
    const names = this.names();
    if (!this.isAllowed && names.length) report(`knows no property ${names.map((name) => name.slice(0, 80)).join(", ")}`);
    if (names.includes("")) report("has a property without a name");
    if (new Set(names).size < names.length) report("has a property twice");
    for (const row of this.rows) if (row.name.value !== "") row.value.check(report.parent);
  }
}

/** Find which further properties a schema allows, and if the form offers to add some. */
function further(flat, hasUnnamed) {
  const rest = flat.additionalProperties ?? flat.unevaluatedProperties;
  const patterns = Object.values(isObject(flat.patternProperties) ? flat.patternProperties : {});
  if (patterns.length === 1 && !isObject(rest)) return { schema: patterns[0], isOffered: true, isAllowed: true };
  const isOpen = rest === true || isObject(rest) || patterns.length > 0;
  const isBare = !isObject(flat.properties) || !Object.keys(flat.properties).length;
  return {
    schema: isObject(rest) && !patterns.length ? rest : true,
    isOffered: isOpen || (rest !== false && (isBare || hasUnnamed || "if" in flat)),
    isAllowed: rest !== false || patterns.length > 0,
  };
}
