// Arguments and results: hidden until asked for, cut where they are long, and whole in a download.

import { h, icon, replace } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { button, copy, download } from "../core/parts.js";
import { safe } from "../core/text.js";
import { readExact, tree } from "../core/tree.js";
import { showContent } from "./content.js";

/** Reading numbers without loss takes a browser ten times as long; nothing longer is shown as a tree. */
const MOST_EXACT = 2_000_000;
const MOST_COPIED = 5_000_000;

/**
 * Make the card of a job's arguments.
 * @param {string} text the JSON as it was sent
 */
export function argumentsCard(text) {
  return card("Arguments", text, "arguments.json", () => text === "{}" ? h("p", { class: "muted", text: "No arguments." }) : asTree(text));
}

/**
 * Make the card of a job's result.
 * @param {string} text the JSON as it was sent @param {any} result @param {AbortSignal} signal
 * @param {{isOpen?: boolean}} [options] `isOpen`: it is shown at once, to the one who has just asked for it
 */
export function resultCard(text, result, signal, { isOpen = false } = {}) {
  return card("Result", text, "result.json", () => {
    const structured = result?.structuredContent;
    const blocks = showContent(result, signal);
    return h("div", { class: "result" }, blocks,
      structured !== undefined && structured !== null && section("Structured content", asTree(text, (whole) => whole.structuredContent)),
      !blocks.length && !structured && h("p", { class: "muted", text: "The result holds no content." }),
      asSent(text));
  }, isOpen);
}

function card(title, text, file, show, isOpen = false) {
  const name = title.toLowerCase();
  const body = h("div", { class: "payload-body" });
  const actions = h("div", { class: "payload-actions" });
  const hide = () => {
    replace(actions);
    replace(body, h("div", { class: "masked" },
      h("p", { class: "muted", text: `Hidden, since others may look at this screen. ${bytes(text.length)}.` }),
      button([icon("eye"), `Show ${name}`], open)));
  };
  const open = () => {
    replace(body, show());
    replace(actions, [
      text.length <= MOST_COPIED && button([icon("copy"), "Copy"], () => copy(text), { "aria-label": `Copy ${name}`, class: "button-small" }),
      button([icon("download"), "Download"], () => download(file, text, "application/json"), { "aria-label": `Download ${name}`, class: "button-small" }),
      button("Hide", hide, { "aria-label": `Hide ${name}`, class: "button-small" }),
    ]);
  };
  if (isOpen) open();
  else hide();
  return h("section", { class: "card payload", "aria-label": title }, h("div", { class: "card-head" }, h("h2", { text: title }), actions), body);
}

function asTree(text, pick = (whole) => whole) {
  if (text.length > MOST_EXACT) return h("p", { class: "muted", text: `Too long for a tree (${bytes(text.length)}): download it.` });
  return tree(pick(readExact(text)));
}

function asSent(text) {
  const place = h("div", {});
  const made = h("details", { class: "as-sent" }, h("summary", { text: "As it was sent" }), place);
  made.addEventListener("toggle", () => {
    if (made.open && !place.firstChild) place.append(h("div", { class: "block-text mono", tabindex: "0", role: "group", "aria-label": "JSON" }, safe(text, { most: 4000 })));
  });
  return made;
}

function section(title, content) {
  return h("section", { class: "payload-section" }, h("h3", { text: title }), content);
}
