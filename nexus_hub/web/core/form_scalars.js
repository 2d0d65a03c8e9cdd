// Controls for single values: text, numbers, yes or no, a choice of values, and JSON for all else.

import { compare, isDecimal, isMultiple, isWhole } from "./decimal.js";
import { h } from "./dom.js";
import { JsonFault, parse, toNumber, write } from "./json_text.js";
import { visible } from "./text.js";

const INPUT_TYPES = { date: "date", email: "email", "idn-email": "email", uri: "url", url: "url", iri: "url", password: "password" };
const EXAMPLES = { "date-time": "2026-11-30T12:00:00Z", time: "12:00:00Z", uri: "https://…", duration: "PT1H30M" };
const FORMS = {
  "date-time": [/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/, "a time with its zone, such as 2026-11-30T12:00:00Z"],
  time: [/^\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?$/, "a time of day, such as 12:00:00Z"],
  date: [/^\d{4}-\d\d-\d\d$/, "a date, such as 2026-11-30"],
  uuid: [/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i, "a UUID"],
};
const NATIVE = { email: "must be an e-mail address", url: "must be a whole address, such as https://example.org" };
const LONGEST_OPTION = 120;

/** @typedef {{id: string, "aria-describedby": string}} Mark what ties a control to its label, hint and fault */

/** @param {import("./schema.js").Described} found @param {Mark} mark */
export function textPart(found, mark) {
  const { flat } = found;
  const type = INPUT_TYPES[flat.format] ?? (flat.format || flat.pattern ? "text" : null);
  const secret = flat.writeOnly === true || type === "password";
  const common = { ...mark, autocomplete: "off", spellcheck: "false", placeholder: exampleOf(flat) ?? EXAMPLES[flat.format] };
  const control = type || secret ? h("input", { ...common, type: secret ? "password" : type }) : h("textarea", { ...common, rows: "1" });
  /** The text as it was given, which a control may change: it knows no carriage return, and an empty text is none. */
  let exact = null;
  const read = () => {
    if (exact && control.value === exact.shown) return exact.text;
    return control.value === "" ? undefined : control.value;
  };
  const put = (text) => {
    control.value = text ?? "";
    if (text && !control.value && control.type !== "text") {
      control.type = "text";
      control.value = text;
    }
    exact = text === undefined ? null : { text, shown: control.value };
  };
  const check = (report) => {
    const text = read();
    if (control.validity.badInput) report("must be " + (FORMS[flat.format]?.[1] ?? "complete"));
    if (text === undefined) return;
    const message = control.validity.typeMismatch ? NATIVE[control.type] : checkText(text, flat);
    if (message) report(message);
    else if (typeof flat.pattern === "string") report.later(flat.pattern, text);
  };
  const element = flat.format === "date-time" ? h("div", { class: "form-row" }, control, timePicker(control)) : secret ? revealing(control) : control;
  return { element, control, read, write: put, check };
}

function exampleOf(flat) {
  const example = Array.isArray(flat.examples) ? flat.examples[0] : undefined;
  return typeof example === "string" || typeof example === "number" ? visible(`e.g. ${example}`.slice(0, LONGEST_OPTION)) : null;
}

function checkText(text, flat) {
  const length = text.length > 100_000 ? text.length : [...text].length;
  if (compare(length, flat.minLength) === -1) return `must have at least ${flat.minLength} characters; it has ${length}`;
  if (compare(length, flat.maxLength) === 1) return `must have at most ${flat.maxLength} characters; it has ${length}`;
  const form = FORMS[flat.format];
  return form && !form[0].test(text) ? `must be ${form[1]}` : null;
}

/** A picker of the reader's own time, which writes it with its zone into the control. */
function timePicker(control) {
  const picker = h("input", { type: "datetime-local", step: "1", "aria-label": "Pick a time in your zone" });
  picker.addEventListener("change", (event) => {
    event.stopPropagation();
    const at = new Date(picker.value);
    if (Number.isNaN(at.getTime())) return;
    control.value = at.toISOString().replace(".000Z", "Z");
    control.dispatchEvent(new Event("input", { bubbles: true }));
    control.dispatchEvent(new Event("change", { bubbles: true }));
  });
  return picker;
}

/**
 * Put a button beside a secret's control that shows it for a while.
 * @param {HTMLInputElement} control @returns {HTMLElement}
 */
export function revealing(control) {
  const button = h("button", { type: "button", class: "button button-plain", "aria-pressed": "false", text: "Show" });
  button.addEventListener("click", () => {
    const shown = control.type === "password";
    control.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    button.textContent = shown ? "Hide" : "Show";
  });
  return h("div", { class: "form-row" }, control, button);
}

/** @param {import("./schema.js").Described} found @param {Mark} mark */
export function numberPart({ flat, kind }, mark) {
  const inputMode = kind === "integer" ? "numeric" : "decimal";
  const control = h("input", { ...mark, type: "text", inputMode, autocomplete: "off", placeholder: exampleOf(flat) });
  const text = () => control.value.trim();
  return {
    element: control,
    control,
    read: () => (isDecimal(text()) ? toNumber(text()) : undefined),
    write: (value) => (control.value = value === undefined ? "" : String(value)),
    check: (report) => {
      const message = text() === "" ? null : checkNumber(text(), kind, flat);
      if (message) report(message);
    },
  };
}

function checkNumber(text, kind, flat) {
  if (!isDecimal(text)) return "must be a number, such as 12 or -0.5";
  if (kind === "integer" && isWhole(text) === false) return "must be a whole number";
  const [above, below] = [flat.exclusiveMinimum, flat.exclusiveMaximum];
  const least = compare(text, flat.minimum), most = compare(text, flat.maximum);
  if (least === -1 || (above === true && least === 0)) return `must be ${above === true ? "over" : "at least"} ${flat.minimum}`;
  if (most === 1 || (below === true && most === 0)) return `must be ${below === true ? "under" : "at most"} ${flat.maximum}`;
  if ([-1, 0].includes(compare(text, above))) return `must be over ${above}`;
  if ([1, 0].includes(compare(text, below))) return `must be under ${below}`;
  return isMultiple(text, flat.multipleOf) === false ? `must be a multiple of ${flat.multipleOf}` : null;
}

/** @param {import("./schema.js").Described} _found @param {Mark} mark @param {boolean} required */
export function booleanPart(_found, mark, required) {
  return selectPart([{ title: "true", value: true }, { title: "false", value: false }], mark, required);
}

/** @param {import("./schema.js").Described} found @param {Mark} mark @param {boolean} required */
export function enumPart(found, mark, required) {
  return selectPart(found.choices, mark, required);
}

function selectPart(choices, mark, required) {
  const none = h("option", { value: "", text: required ? "choose …" : "not set" });
  const options = choices.map((one, index) => h("option", { value: String(index), text: visible(one.title.slice(0, LONGEST_OPTION)) }));
  const control = h("select", mark, none, options);
  const same = (value) => choices.findIndex((one) => write(one.value) === write(value));
  const put = (value) => (control.value = value === undefined ? "" : String(same(value)));
  if (required && choices.length === 1) put(choices[0].value);
  return {
    element: control,
    control,
    read: () => (control.value === "" ? undefined : choices[Number(control.value)].value),
    write: put,
    fits: (value) => same(value) >= 0,
    check: () => {},
  };
}

/** @param {import("./schema.js").Described} _found @param {Mark} mark */
export function jsonPart(_found, mark) {
  const control = h("textarea", { ...mark, rows: "2", class: "mono", autocomplete: "off", spellcheck: "false", placeholder: "JSON" });
  const attempt = () => {
    try {
      return { value: control.value.trim() === "" ? undefined : parse(control.value) };
    } catch (error) {
      if (!(error instanceof JsonFault)) throw error;
      return { fault: error.message };
    }
  };
  return {
    element: control,
    control,
    read: () => attempt().value,
    write: (value) => (control.value = value === undefined ? "" : write(value)),
    fits: () => true,
    check: (report) => {
      const { fault } = attempt();
      if (fault) report(`is no JSON. ${fault}`);
    },
  };
}
