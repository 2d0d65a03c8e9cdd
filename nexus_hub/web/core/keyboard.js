// Keys: to the pages, to the search, and through the rows of a table.

import { h } from "./dom.js";
import { openDialog } from "./parts.js";
import { go } from "./router.js";

const CHORD_MS = 1500;
const ROWS = "main tbody tr";

/**
 * Listen for keys.
 * @param {() => {key: string, href: string, title: string}[]} places pages that `g` and a key go to
 */
export function listen(places) {
  let chord = -Infinity;
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const isChord = event.timeStamp - chord < CHORD_MS;
    chord = -Infinity;
    const place = isChord && places().find((one) => one.key === event.key);
    if (place) go(place.href);
    else if (event.key === "g") chord = event.timeStamp;
    else if (event.key === "/") focusSearch();
    else if (event.key === "?") showKeys(places());
    else if (event.key === "j" || event.key === "k") moveRow(event.key === "j" ? 1 : -1);
    else if (event.key === "Enter" && event.target.matches?.(ROWS)) openRow(event.target);
    else return;
    event.preventDefault();
  });
}

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function focusSearch() {
  const found = document.querySelector("main [type=search]");
  if (found instanceof HTMLInputElement) {
    found.focus();
    found.select();
  }
}

function moveRow(step) {
  const rows = [...document.querySelectorAll(ROWS)].filter((one) => one instanceof HTMLElement && one.offsetParent);
  const at = rows.findIndex((one) => one.contains(document.activeElement));
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
  if (!(next instanceof HTMLElement)) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function openRow(row) {
  (row.querySelector("a[data-open]") ?? row.querySelector("a[href]"))?.click();
}

function showKeys(places) {
  const keys = [
    ...places.map((one) => [["g", one.key], one.title]),
    [["/"], "Search"], [["j"], "Next row"], [["k"], "Row before"], [["Enter"], "Open the row"], [["?"], "These keys"],
  ];
  openDialog("Keys", h("dl", { class: "keys" }, keys.map(([pressed, text]) => [
    h("dt", {}, pressed.map((one) => h("kbd", { text: one }))), h("dd", { text }),
  ])));
}
