// JSON as a tree that opens and closes, with numbers as they were sent.

import { h, frag } from "./dom.js";
import { safe } from "./text.js";

const CHUNK = 100;
const OPEN_DEPTH = 2;
const OPEN_SIZE = 20;

/**
 * Show a value; what is nested deeper is made once it is opened.
 * @param {any} value @returns {HTMLElement}
 */
export function tree(value) {
  return h("div", { class: "tree" }, node(null, value, 0));
}

/**
 * Read JSON so that a number that would change its form (1.0, or beyond 2^53) is kept as it was sent.
 * @param {string} text
 */
export function readExact(text) {
  if (!("rawJSON" in JSON)) return JSON.parse(text);
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && String(value) !== context?.source ? JSON.rawJSON(context.source) : value);
}

/** Tell if a value is a number that `readExact` kept as text. @param {any} value */
export function isRaw(value) {
  return "isRawJSON" in JSON && JSON.isRawJSON(value);
}

function node(key, value, depth) {
  const name = key === null ? null : frag(h("span", { class: "tree-key" }, safe(key, { most: 200 })), ": ");
  if (value === null || typeof value !== "object" || isRaw(value)) return h("div", { class: "tree-leaf" }, name, leaf(value));
  const entries = Array.isArray(value) ? value.map((one, i) => [i, one]) : Object.entries(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (!entries.length) return h("div", { class: "tree-leaf" }, name, h("span", { class: "muted", text: open + close }));
  const count = `${entries.length} ${Array.isArray(value) ? "item" : "member"}${entries.length === 1 ? "" : "s"}`;
  const inner = h("div", { class: "tree-inner" });
  const made = h("details", {}, h("summary", {}, name, h("span", { class: "muted", text: `${open} ${count} ${close}` })), inner);
  const fill = () => inner.firstChild || grow(inner, entries, 0, depth + 1);
  made.addEventListener("toggle", () => made.open && fill());
  if (depth < OPEN_DEPTH && entries.length <= OPEN_SIZE) {
    fill();
    made.open = true;
  }
  return made;
}

function grow(inner, entries, from, depth) {
  inner.append(frag(entries.slice(from, from + CHUNK).map(([key, value]) => node(key, value, depth))));
  const left = entries.length - from - CHUNK;
  if (left <= 0) return;
  const more = h("button", { type: "button", class: "link", text: `show ${Math.min(left, CHUNK)} more of ${left}` });
  more.addEventListener("click", () => {
    more.remove();
    grow(inner, entries, from + CHUNK, depth);
  });
  inner.append(more);
}

function leaf(value) {
  if (typeof value === "string") return h("span", { class: "tree-string" }, "\u201c", safe(value, { most: 500 }), "\u201d");
  return h("span", { class: "tree-word", text: isRaw(value) ? value.rawJSON : String(value) });
}
