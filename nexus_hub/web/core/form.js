// Forms made from JSON Schemas, as servers write them.

import { h } from "./dom.js";
import { NEEDED, slot } from "./form_slot.js";
import { isObject } from "./json_text.js";
import { matches } from "./pattern.js";

/** Fields that are made without being asked for; beyond them, and one object more, groups wait to be opened. */
const MOST_MADE = 300;
/** Patterns that have no answer in time, after which no further one is tried. */
const MOST_UNANSWERED = 3;
const MOST_EXPLAINED = 100;
const LISTED = /'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"/g;

/**
 * @typedef {object} Scope
 * @property {any} root the document that references speak of
 * @property {number} auto the fields that may still be made without being asked for
 * @property {() => void} changed told after every change
 * @property {(slot: any) => void} recheck
 *
 * @typedef {{slot: any, path: (string | number)[], message: string}} Fault
 */

/**
 * Make a form for a schema; it begins with the schema's defaults.
 * @param {any} schema
 * @param {{onChange?: () => void, name?: string}} [options]
 */
export function form(schema, options = {}) {
  return new Form(schema, options);
}

class Form {
  constructor(schema, { onChange = () => {}, name = "arguments" }) {
    this.shown = new Set();
    const scope = { root: schema, auto: MOST_MADE, changed: () => {}, recheck: (place) => this.recheck(place) };
    scope.changed = () => {
      scope.auto = MOST_MADE;
      onChange();
    };
    const asObject = isObject(schema) && schema.type === undefined ? { ...schema, type: "object" } : schema;
    this.top = slot(asObject, scope, { name, where: () => [], required: true, level: 0, plain: true });
    this.element = h("div", { class: "form", on: { input: onChange, change: onChange } }, this.top.element);
  }

  /** Give the value: numbers in the form in which they were typed. */
  read() {
    return this.top.read();
  }

  write(value) {
    this.top.write(value);
  }

  /** Find what is wrong, and show it. @returns {Promise<Fault[]>} */
  async check() {
    this.clear();
    const faults = await collect(this.top);
    this.show(faults);
    return faults;
  }

  /** Check a field that was left; what is still missing is told when the whole is checked. */
  async recheck(place) {
    place.clear();
    const faults = await collect(place);
    this.show(faults.filter((one) => one.slot === place && one.message !== NEEDED));
  }

  /** Show what the hub refused, at the places that it names. @param {string[]} problems @returns {Fault[]} */
  explain(problems) {
    this.clear();
    const faults = problems.slice(0, MOST_EXPLAINED).flatMap((line) => toFaults(this.top, String(line)));
    this.show(faults);
    return faults;
  }

  show(faults) {
    for (const { slot: place, message } of faults) {
      place.show(message);
      this.shown.add(place);
    }
  }

  clear() {
    for (const place of this.shown) place.clear();
    this.shown.clear();
  }
}

/** Collect the faults of a place and of all below it. @returns {Promise<Fault[]>} */
async function collect(top) {
  const faults = [];
  const later = [];
  const fault = (place, message) => faults.push({ slot: place, path: place.path, message });
  const report = {
    fault,
    has: (place) => faults.some((one) => one.slot === place),
    at: (place) => Object.assign((message) => fault(place, message), { parent: report, later: (pattern, text) => later.push({ place, pattern, text }) }),
  };
  top.check(report);
  let unanswered = 0;
  for (const { place, pattern, text } of later) {
    if (unanswered === MOST_UNANSWERED) break;
    const fits = await matches(pattern, text);
    if (fits === null) unanswered += 1;
    if (fits === false) fault(place, `must match ${pattern.slice(0, 200)}`);
  }
  return faults;
}

/** Read a line of the hub, such as `address.zip: must be of type string`, as faults of places. @returns {Fault[]} */
function toFaults(top, line) {
  const [, path, said] = /^(.*?): (.*)$/s.exec(line) ?? [null, "", line];
  const found = path === "the arguments" ? top : top.locate(path);
  const names = / is required$/.test(said) ? [...said.matchAll(LISTED)].map((one) => one[1] ?? one[2]) : [];
  const missing = names.map((name) => found.locate(name)).filter((one) => one !== found);
  if (names.length && missing.length === names.length) {
    return missing.map((one) => ({ slot: one, path: one.path, message: NEEDED }));
  }
  const message = found.path.join(".") === path || path === "the arguments" ? said : line;
  return [{ slot: found, path: found.path, message }];
}
