// A bundle's entries in plain words.

import { number } from "../core/format.js";

/** The form of a bundle's name. */
export const NAME = "[A-Za-z0-9](?:[A-Za-z0-9\\-]|_(?!_))*";
export const KINDS = { tool: "tool", prompt: "prompt", resource: "resource", template: "template" };

/** Give the name that an entry has at the bundle's endpoint. @param {any} entry @returns {string} */
export function nameOf({ kind, server, source, name }) {
  if (name) return name;
  return kind === "resource" || kind === "template" ? source : `${server}__${source}`;
}

/** Say what an entry changes of what its server says. @param {any} entry @returns {string[]} */
export function changesOf({ name, title, description, fixed, hidden }) {
  const count = Object.keys(fixed ?? {}).length;
  return [
    name && "renamed", (title || description) && "described anew",
    count > 0 && `${number(count)} fixed`, hidden?.length > 0 && `${number(hidden.length)} hidden`,
  ].filter(Boolean);
}
