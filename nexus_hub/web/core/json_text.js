// JSON read and written without loss: numbers keep the form in which they were typed, and faults name their line.

import { UNSEEN } from "./text.js";

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORDS = [["true", true], ["false", false], ["null", null]];
const DEEPEST = 200;

/** A number that a float would change, as its text. */
export class NumberText {
  constructor(text) {
    this.text = text;
  }

  valueOf() {
    return Number(this.text);
  }

  toString() {
    return this.text;
  }

  toJSON() {
    return "rawJSON" in JSON ? JSON.rawJSON(this.text) : Number(this.text);
  }
}

/** A text that is no JSON: `line` and `column` count from 1. */
export class JsonFault extends Error {
  constructor(reason, text, at) {
    const before = text.slice(0, at).split("\n");
    super(`Line ${before.length}, column ${before.at(-1).length + 1}: ${reason}`);
    this.line = before.length;
    this.column = before.at(-1).length + 1;
  }
}

/**
 * Make a number of a text of JSON: a plain one if that loses nothing.
 * @param {string} text
 * @returns {number | NumberText}
 */
export function toNumber(text) {
  const number = Number(text);
  return String(number) === text ? number : new NumberText(text);
}

/** Tell a number, in either of its forms. */
export function isNumber(value) {
  return typeof value === "number" || value instanceof NumberText;
}

/** Tell an object of JSON: no list, no number's text. */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof NumberText);
}

/** An object without ancestors, so that no name in it means anything else than a name. */
export function bare(entries = []) {
  const made = Object.create(null);
  for (const [key, value] of entries) made[key] = value;
  return made;
}

/**
 * Read JSON; throws `JsonFault`.
 * @param {string} text
 * @param {(path: (string | number)[], at: number) => void} [onValue] told where each value begins
 */
export function parse(text, onValue) {
  const reader = new Reader(text, onValue);
  const value = reader.readValue();
  reader.skipBlank();
  if (reader.at < text.length) reader.fail("something follows the value; take it away or put a comma before it.");
  return value;
}

/** Give the line, from 1, on which the value at a path begins, or that of what is around it. */
export function lineOf(text, path) {
  let best = [-1, 0];
  const note = (here, at) => {
    if (here.length > best[0] && here.every((step, index) => String(step) === String(path[index]))) {
      best = [here.length, at];
    }
  };
  try {
    parse(text, note);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
  }
  return text.slice(0, best[1]).split("\n").length;
}

class Reader {
  constructor(text, onValue) {
    this.text = text;
    this.at = 0;
    this.path = [];
    this.onValue = onValue;
  }

  fail(reason, at = this.at) {
    throw new JsonFault(reason, this.text, at);
  }

  skipBlank() {
    while (" \t\n\r".includes(this.text[this.at] ?? "x")) this.at += 1;
  }

  /** Take a character if it comes next. */
  take(character) {
    this.skipBlank();
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  readValue() {
    this.skipBlank();
    if (this.path.length > DEEPEST) this.fail(`it is nested deeper than ${DEEPEST} levels.`);
    this.onValue?.(this.path, this.at);
    switch (this.text[this.at]) {
      case "{":
        return this.readObject();
      case "[":
        return this.readArray();
      case '"':
        return this.readString();
      default:
        return this.readWord();
    }
  }

  readWord() {
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (!found) this.fail(this.at < this.text.length ? "a value is expected here." : "it ends before it is complete.");
    this.at = NUMBER.lastIndex;
    return toNumber(found[0]);
  }

  readString() {
    const start = this.at;
    let end = start;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.fail("this text has no closing quote.", start);
    } while (this.isEscaped(end));
    this.at = end + 1;
    try {
      return JSON.parse(this.text.slice(start, end + 1));
    } catch {
      return this.fail("this text holds a line break, a control character or an unknown escape.", start);
    }
  }

  isEscaped(at) {
    let before = at;
    while (this.text[before - 1] === "\\") before -= 1;
    return (at - before) % 2 === 1;
  }

  readArray() {
    const made = [];
    this.at += 1;
    if (this.take("]")) return made;
    do {
      made.push(this.readWithin(made.length));
    } while (this.take(","));
    if (!this.take("]")) this.fail("a comma or ] is expected here.");
    return made;
  }

  readObject() {
    const made = bare();
    this.at += 1;
    if (this.take("}")) return made;
    do {
      const [key, at] = this.readKey();
      if (key in made) this.fail(`the name ${JSON.stringify(key.slice(0, 80))} stands here a second time.`, at);
      made[key] = this.readWithin(key);
    } while (this.take(","));
    if (!this.take("}")) this.fail("a comma or } is expected here.");
    return made;
  }

  readKey() {
    this.skipBlank();
    const at = this.at;
    if (this.text[at] !== '"') this.fail("a name in double quotes is expected here.");
    const key = this.readString();
    if (!this.take(":")) this.fail("a colon is expected here.");
    return [key, at];
  }

  readWithin(step) {
    this.path.push(step);
    const value = this.readValue();
    this.path.pop();
    return value;
  }
}

/**
 * Write a value as JSON, indented by two blanks unless `tight`.
 * @returns {string}
 */
export function write(value, { tight = false } = {}) {
  const parts = [];
  writeInto(parts, value, tight ? "" : "\n", tight);
  return parts.join("");
}

function writeInto(parts, value, line, tight) {
  if (value instanceof NumberText) parts.push(value.text);
  else if (Array.isArray(value)) writeMembers(parts, "[]", value.map((one) => ["", one]), line, tight);
  else if (isObject(value)) {
    const named = Object.keys(value).filter((key) => value[key] !== undefined);
    const colon = tight ? ":" : ": ";
    writeMembers(parts, "{}", named.map((key) => [quote(key) + colon, value[key]]), line, tight);
  } else parts.push(typeof value === "string" ? quote(value) : (JSON.stringify(value) ?? "null"));
}

/** Write a text with escapes in the place of what would turn the line round, or not be seen. */
function quote(text) {
  return JSON.stringify(text).replace(UNSEEN, (one) => [...Array(one.length).keys()].map((at) => `\\u${one.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""));
}

function writeMembers(parts, [open, close], members, line, tight) {
  const inner = tight ? "" : `${line}  `;
  parts.push(open);
  members.forEach(([name, value], index) => {
    parts.push(index ? "," : "", inner, name);
    writeInto(parts, value, inner, tight);
  });
  parts.push(members.length ? line : "", close);
}
