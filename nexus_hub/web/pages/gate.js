// A page that stands alone: one card under the mark of the hub, for who comes in from elsewhere.

import { h, icon, replace } from "../core/dom.js";

/**
 * Make the page, and give the place of its content.
 * @param {HTMLElement} root @param {{isTitle?: boolean}} [options] `isTitle`: the hub's name is the title of the page
 * @returns {HTMLElement}
 */
export function gate(root, { isTitle = false } = {}) {
  const place = h("div", { class: "gate-place" });
  replace(root, h("div", { class: "gate" }, h("div", { class: "gate-brand" }, icon("mark"), h(isTitle ? "h1" : "span", { text: "nexus-hub" })), place));
  return place;
}

/** Say how something ended. @param {string} title @param {...import("../core/dom.js").Child} content */
export function gateCard(title, ...content) {
  return h("section", { class: "card card-pad gate-card", role: "status" }, h("h1", { text: title }), content);
}
