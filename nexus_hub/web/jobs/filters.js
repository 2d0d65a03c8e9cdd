// The filters of Jobs, which stand in the address.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button } from "../core/parts.js";
import { setQuery } from "../core/router.js";
import { KINDS, STATES } from "./words.js";

export const FILTERS = ["status", "server", "tool", "user", "job_type", "lane", "search"];
const TYPING_MS = 300;
const LANES = [["", "Any lane"], ["durable", "Durable"], ["direct", "Direct"]];

/** Read the filters of this address. @returns {Record<string, string>} */
export function readFilters() {
  const asked = new URLSearchParams(location.search);
  return Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) ?? ""]).filter(([, value]) => value));
}

/**
 * Make the filters; each change goes into the address, then `onChange` is called.
 * @param {boolean} isOperator @param {() => void} onChange @param {AbortSignal} signal
 * @returns {{element: HTMLElement, count: (queue: any) => void}}
 */
export function makeFilters(isOperator, onChange, signal) {
  let typing = 0;
  /** Values that were typed and are not in the address yet. @type {Record<string, string>} */
  let typed = {};
  signal.addEventListener("abort", () => clearTimeout(typing));
  const change = (changes) => {
    clearTimeout(typing);
    setQuery({ ...typed, ...changes, cursor: null }, { quiet: true });
    typed = {};
    showActive();
    onChange();
  };
  const later = ({ target }) => {
    clearTimeout(typing);
    typed[target.name] = target.value.trim();
    typing = setTimeout(() => change({}), TYPING_MS);
  };
  const chips = new Map([["", "all"], ...STATES].map(([status, word]) => [status, makeChip(status, word, () => change({ status }))]));
  const [search, ...others] = makeInputs(isOperator, later, change, signal);
  const clear = button("Clear filters", () => {
    for (const one of [search, ...others]) one.value = "";
    change(Object.fromEntries(FILTERS.map((name) => [name, null])));
  });
  const showActive = () => {
    const active = readFilters();
    chips.forEach((chip, status) => chip.element.setAttribute("aria-pressed", String((active.status ?? "") === status)));
    clear.hidden = !Object.keys(active).length;
  };
  showActive();
  const element = h("div", { class: "jobs-filters", role: "search", "aria-label": "Jobs" },
    h("div", { class: "chips", role: "group", "aria-label": "State" }, [...chips.values()].map((one) => one.element)),
    h("div", { class: "jobs-inputs" }, search, moreButton(), others, clear));
  const count = (queue) => {
    chips.get("pending")?.count(queue.waiting + queue.later);
    chips.get("running")?.count(queue.running);
  };
  return { element, count };
}

function makeInputs(isOperator, later, change, signal) {
  const values = readFilters();
  const common = (name, label) => ({ name, id: `jobs-${name}`, "aria-label": label });
  const input = (name, label, props = {}) => h("input", {
    ...common(name, label), placeholder: label, value: values[name] ?? "", autocomplete: "off", spellcheck: "false", on: { input: later }, ...props,
  });
  const select = (name, label, options) => {
    const made = h("select", { ...common(name, label), on: { change: () => change({ [name]: made.value }) } }, options.map(([value, text]) => h("option", { value, text })));
    made.value = values[name] ?? "";
    return made;
  };
  const names = h("datalist", { id: "jobs-servers" });
  const server = input("server", "Server", { list: names.id });
  server.addEventListener("focus", () => suggest(names, signal), { once: true });
  return [
    input("search", "Search by id, server, tool or error code", { type: "search" }), server, names, input("tool", "Tool"),
    isOperator && input("user", "User"), select("job_type", "Kind", [["", "Any kind"], ...Object.entries(KINDS)]), select("lane", "Lane", LANES),
  ].filter(Boolean);
}

/** Make the button that shows the other filters where the page is narrow. */
function moreButton() {
  const more = h("button", { type: "button", class: "button more-filters", "aria-expanded": "false", text: "Filters" });
  more.addEventListener("click", () => more.setAttribute("aria-expanded", String(more.getAttribute("aria-expanded") === "false")));
  return more;
}

function makeChip(status, word, onClick) {
  const amount = h("span", { class: "chip-count" });
  const element = h("button", { type: "button", class: "chip", data: { status }, on: { click: onClick } }, word, amount);
  return { element, count: (n) => replace(amount, n ? number(n) : "") };
}

async function suggest(names, signal) {
  const found = await get("/v1/servers", { limit: 200 }, { signal });
  replace(names, found.items.map((one) => h("option", { value: one.name })));
}
