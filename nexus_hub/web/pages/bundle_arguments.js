// The arguments of a bundle's entry: each is the caller's, fixed to a value, or hidden.

import { h, replace } from "../core/dom.js";
import { form } from "../core/form.js";
import { isObject } from "../core/json_text.js";
import { newId } from "../core/parts.js";
import { safe } from "../core/text.js";

const MODES = { free: "the caller gives it", fixed: "fixed to …", hidden: "hidden" };
const MOST = 200;

export class ArgumentsEditor {
  /** @param {any} schema @param {{fixed?: any, hidden?: string[]}} entry @param {() => void} changed */
  constructor(schema, { fixed = {}, hidden = [] }, changed) {
    const properties = isObject(schema?.properties) ? schema.properties : {};
    const needed = new Set(Array.isArray(schema?.required) ? schema.required : []);
    const names = [...new Set([...Object.keys(properties).slice(0, MOST), ...Object.keys(fixed), ...hidden])];
    this.rows = names.map((name) => new ArgumentRow(name, {
      schema: Object.hasOwn(properties, name) ? properties[name] : true, root: schema, isNeeded: needed.has(name), isKnown: Object.hasOwn(properties, name),
      mode: Object.hasOwn(fixed, name) ? "fixed" : hidden.includes(name) ? "hidden" : "free", value: fixed[name], changed,
    }));
    this.element = h("fieldset", { class: "arguments" }, h("legend", { text: "Arguments" }),
      this.rows.length ? this.rows.map((row) => row.element) : h("p", { class: "muted", text: "It takes none." }));
  }

  read() {
    const fixed = this.rows.filter((row) => row.mode === "fixed").map((row) => [row.name, row.value]);
    return { fixed: Object.fromEntries(fixed), hidden: this.rows.filter((row) => row.mode === "hidden").map((row) => row.name) };
  }

  async check() {
    const fits = await Promise.all(this.rows.map((row) => row.check()));
    return fits.every(Boolean);
  }

  focus() {
    this.rows.find((row) => row.isWrong)?.select.focus();
  }
}

class ArgumentRow {
  constructor(name, { schema, root, isNeeded, isKnown, mode, value, changed }) {
    Object.assign(this, { name, schema, root, isNeeded, changed, isWrong: false });
    /** @type {ReturnType<typeof form> | null} */
    this.form = null;
    this.select = h("select", { id: newId(), "aria-label": `Argument ${name.slice(0, 80)}` }, Object.entries(MODES).map(([word, text]) => h("option", { value: word, text })));
    this.select.value = mode;
    this.select.addEventListener("change", () => this.show());
    this.note = h("p", { class: "hint" });
    this.place = h("div", { class: "argument-value" });
    const said = isObject(schema) && typeof schema.description === "string" ? safe(schema.description, { lines: 2, most: 200, button: false }) : null;
    this.element = h("div", { class: "argument" },
      h("div", { class: "argument-name" }, h("span", { class: "form-name" }, safe(name, { lines: 1, most: 80, button: false })),
        isNeeded && h("span", { class: "form-needed", text: " needed" }), !isKnown && h("span", { class: "tone-warn small", text: " not an argument of it now" }), said && h("p", { class: "hint" }, said)),
      this.select, this.note, this.place);
    this.show(value);
  }

  get mode() {
    return this.select.value;
  }

  show(value) {
    const isFixed = this.mode === "fixed";
    if (isFixed && !this.form) {
      this.form = form(oneProperty(this.root, this.name, this.schema), { onChange: this.changed, name: this.name });
      if (value !== undefined) this.form.write({ [this.name]: value });
    }
    replace(this.note, this.mode === "hidden" && this.isNeeded && "Calls need it, so each would be refused: fix it to a value instead.");
    replace(this.place, isFixed && this.form.element);
  }

  get value() {
    return (this.form?.read() ?? {})[this.name]; // a form that is being made tells of changes already
  }

  async check() {
    this.isWrong = this.mode === "fixed" && (await this.form.check()).length > 0;
    return !this.isWrong;
  }
}

/** Make a schema with one property of another, and with what its references lead to. */
function oneProperty(root, name, schema) {
  const { $defs, definitions } = isObject(root) ? root : {};
  return { type: "object", properties: { [name]: schema }, required: [name], additionalProperties: false, ...($defs && { $defs }), ...(definitions && { definitions }) };
}
