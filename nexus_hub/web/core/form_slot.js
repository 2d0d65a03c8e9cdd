// The place of one value in a form: its label, its control once there is one, and what is wrong with it.

import { h, replace } from "./dom.js";
import { bytes } from "./format.js";
import { objectPart } from "./form_objects.js";
import { choicePart, listPart } from "./form_lists.js";
import { booleanPart, enumPart, jsonPart, numberPart, textPart } from "./form_scalars.js";
import { write } from "./json_text.js";
import { describe, hasKind } from "./schema.js";
import { newId } from "./parts.js";
import { safe, visible } from "./text.js";

/** The fault of a value that is missing. */
export const NEEDED = "is needed";
const PARTS = {
  object: objectPart, array: listPart, choice: choicePart, string: textPart, number: numberPart, integer: numberPart,
  boolean: booleanPart, enum: enumPart, json: jsonPart,
};
const GROUPS = new Set(["object", "array", "choice"]);
const TYPE_WORDS = {
  object: "object", array: "list", choice: "one of several forms", string: "text", number: "number",
  integer: "whole number", boolean: "true or false", enum: "one of a list", json: "JSON",
};
const FORMAT_WORDS = {
  "date-time": "date and time", date: "date", time: "time of day", email: "e-mail address", uri: "web address", url: "web address",
  uuid: "UUID", duration: "duration", password: "secret",
};
const DEEPEST_OPEN = 5;
const LONGEST_TEXT = 100_000;
const LONGEST_DEFAULT = 10_000;

/**
 * @typedef {object} Place
 * @property {string} name
 * @property {() => (string | number)[]} where its path
 * @property {boolean} required
 * @property {number} level
 * @property {boolean} [plain] without a frame of its own
 * @property {boolean} [isItem] one of a list, of which nobody needs to be told that it is needed
 */

/**
 * Make the place of a value. A group that is not needed, or lies deep, is made once somebody opens it: so a schema
 * that refers to itself has an end.
 * @param {any} schema @param {import("./form.js").Scope} scope @param {Place} place
 */
export function slot(schema, scope, place) {
  return new Slot(schema, scope, place);
}

class Slot {
  constructor(schema, scope, place) {
    this.scope = scope;
    this.place = place;
    scope.auto -= 1;
    this.found = describe(schema, scope.root);
    this.isGroup = GROUPS.has(this.found.kind);
    this.mark = { id: newId(), "aria-describedby": "" };
    this.body = h("div", { class: "form-body" });
    this.tools = h("span", { class: "form-tools" });
    this.fault = h("p", { class: "form-fault", id: newId(), hidden: true });
    this.element = this.frame();
    this.part = null;
    /** absent, open, null or kept: a value that its control can't show. @type {string} */
    this.mode = "absent";
    this.kept = undefined;
    if (!this.isGroup) this.element.addEventListener("change", () => scope.recheck(this));
    this.start();
  }

  get path() {
    return this.place.where();
  }

  /** Begin with the default; without one, open what must be there. */
  start() {
    const { flat } = this.found;
    const { required, level } = this.place;
    if (!this.isGroup) this.open();
    const given = flat.default;
    if (given !== undefined && given !== null && write(given).length <= LONGEST_DEFAULT) this.write(given);
    else if (this.isGroup && required && level < DEEPEST_OPEN && this.scope.auto > 0) this.open();
    else this.render();
  }

  open() {
    this.part ??= PARTS[this.found.kind](this.found, this.mark, this.place.required, this.scope, this.place);
    this.mode = "open";
    this.render();
  }

  read() {
    if (this.mode === "open") return this.part.read();
    return this.mode === "null" ? null : this.mode === "kept" ? this.kept : undefined;
  }

  /** Show a value; undefined for none. */
  write(value) {
    if (value === undefined) return this.empty();
    const isNull = value === null && this.found.nullable;
    if (isNull || !this.canShow(value)) {
      this.mode = isNull ? "null" : "kept";
      this.kept = value;
      return this.render();
    }
    this.open();
    this.part.write(value);
  }

  empty() {
    if (this.isGroup) {
      this.part = null;
      this.mode = "absent";
      return this.render();
    }
    this.open();
    this.part.write(undefined);
  }

  fits(value) {
    this.part ??= this.isGroup ? null : PARTS[this.found.kind](this.found, this.mark, this.place.required, this.scope, this.place);
    return this.part?.fits?.(value) ?? (this.found.kind === "choice" || hasKind(value, this.found.kind));
  }

  canShow(value) {
    return this.fits(value) && (this.found.kind !== "string" || (value.length <= LONGEST_TEXT && visible(value) === value));
  }

  /** Report what is wrong here and below. */
  check(report) {
    if (this.mode === "kept" && !this.fits(this.kept)) report.fault(this, `must be ${TYPE_WORDS[this.found.kind]}`);
    else if (this.mode === "open") this.part.check(report.at(this));
    if (this.place.required && this.read() === undefined && !report.has(this)) report.fault(this, NEEDED);
  }

  /** Find the deepest place of a path that a server wrote with dots. */
  locate(text) {
    return (text !== "" && this.mode === "open" && this.part.locate?.(text)) || this;
  }

  show(message) {
    this.fault.textContent = message;
    this.fault.hidden = false;
    this.part?.control?.setAttribute("aria-invalid", "true");
    this.element.classList.add("form-wrong");
  }

  clear() {
    this.fault.hidden = true;
    this.part?.control?.removeAttribute("aria-invalid");
    this.element.classList.remove("form-wrong");
  }

  focus() {
    const target = this.part?.control ?? this.element.querySelector("input, select, textarea, button");
    target?.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  render() {
    const content = { open: () => this.part.element, null: () => h("code", { text: "null" }), kept: () => this.keptBox(), absent: () => null };
    replace(this.body, content[this.mode]());
    this.element.classList.toggle("form-closed", this.mode === "absent");
    replace(this.tools, this.actions().map(([label, act]) => this.tool(label, act)));
  }

  /** Name what can be done in this state. */
  actions() {
    const actions = [];
    if (this.mode === "absent") actions.push(["Add", () => this.open()]);
    if (this.mode === "open" && this.isGroup && !this.place.plain && !this.place.isItem) actions.push(["Remove", () => this.empty()]);
    if (this.mode === "open" && this.found.nullable) actions.push(["Set to null", () => this.write(null)]);
    if (this.mode === "null" || this.mode === "kept") actions.push(["Clear", () => this.empty()]);
    return actions;
  }

  tool(label, act) {
    const name = `${label}: ${this.place.name.slice(0, 80)}`;
    const button = h("button", { type: "button", class: "link", text: label, "aria-label": name });
    button.addEventListener("click", () => {
      act();
      this.scope.changed();
      (this.body.querySelector("input, select, textarea, button") ?? this.tools.querySelector("button"))?.focus();
    });
    return button;
  }

  keptBox() {
    const text = write(this.kept);
    const why = typeof this.kept === "string" && this.fits(this.kept) ? `A text of ${bytes(this.kept.length)} that a field can't show as it is; sent as the JSON has it:` : "Sent as the JSON has it:";
    return h("div", { class: "form-kept" }, h("p", { class: "hint", text: why }), h("code", {}, safe(typeof this.kept === "string" ? this.kept : text, { lines: 5, most: 300 })));
  }

  frame() {
    const { flat, note, hidden } = this.found;
    const hint = h("div", { class: "form-hint hint", id: newId() }, [
      typeof flat.description === "string" && h("p", {}, safe(flat.description, { lines: 4, most: 400 })),
      note && h("p", { text: note }),
      hidden.length > 0 && h("p", { text: `Rules that the server checks beyond this form: ${hidden.join(", ")}.` }),
      limits(flat).map((text) => h("p", { text })),
    ]);
    this.mark["aria-describedby"] = `${hint.id} ${this.fault.id}`;
    if (this.place.plain) {
      if (!this.isGroup) this.mark["aria-label"] = this.place.name.slice(0, 100);
      return h("div", { class: "form-plain" }, this.tools, hint, this.fault, this.body);
    }
    if (this.isGroup) {
      return h("fieldset", { class: "form-group", "aria-describedby": this.mark["aria-describedby"] },
        h("legend", {}, this.title(), " ", this.tools), hint, this.fault, this.body);
    }
    const label = h("div", { class: "form-label" }, h("label", { for: this.mark.id }, this.title()), this.tools);
    return h("div", { class: "form-field" }, label, this.body, hint, this.fault);
  }

  title() {
    const { flat, kind } = this.found;
    const { name, required, isItem } = this.place;
    const word = (kind === "string" && FORMAT_WORDS[flat.format]) || TYPE_WORDS[kind];
    const title = typeof flat.title === "string" && letters(flat.title) !== letters(name) ? flat.title : null;
    return [
      h("span", { class: "form-name" }, safe(name, { lines: 1, most: 100, button: false })),
      title && [" ", h("span", { class: "form-title" }, safe(title, { lines: 1, most: 100, button: false }))],
      " ", h("span", { class: "form-type muted", text: word }),
      required && !isItem && [" ", h("span", { class: "form-needed", text: "needed" })],
    ];
  }
}

function letters(text) {
  return text.slice(0, 100).toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

/** Say in words what a value must satisfy. */
function limits(flat) {
  const said = (low, high, unit) => (low !== undefined && high !== undefined ? `${low} to ${high}${unit}` : low !== undefined ? `at least ${low}${unit}` : `at most ${high}${unit}`);
  const short = (value) => String(value).slice(0, 40);
  const pairs = [["minimum", "maximum", ""], ["minLength", "maxLength", " characters"], ["minItems", "maxItems", " items"]];
  const told = pairs.filter(([low, high]) => low in flat || high in flat)
    .map(([low, high, unit]) => said(low in flat ? short(flat[low]) : undefined, high in flat ? short(flat[high]) : undefined, unit));
  if ("multipleOf" in flat) told.push(`a multiple of ${short(flat.multipleOf)}`);
  const text = told.join(", ");
  return text ? [`${text[0].toUpperCase()}${text.slice(1)}.`] : [];
}
