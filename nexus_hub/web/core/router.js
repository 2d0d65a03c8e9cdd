// Addresses of the console: links and moves without a reload.

import { h } from "./dom.js";

const UNFIT_SCHEMES = new Set(["javascript:", "vbscript:", "data:", "blob:", "file:", "filesystem:", "about:", "view-source:"]);

/** @type {(kind: "page" | "query") => void} */
let changed = () => {};

/** Have a function called after each move. @param {(kind: "page" | "query") => void} f */
export function onMove(f) {
  changed = f;
  addEventListener("popstate", () => f("page"));
}

/** Give the address of this page, without the host. */
export function here() {
  return location.pathname + location.search;
}

/** Go to a page. @param {string} href @param {{replace?: boolean}} [options] */
export function go(href, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", href);
  changed("page");
}

/**
 * Leave the console for an address that the hub gave, such as a client's own `cursor://`; not for one that a browser
 * would run, or show as a page of its own making.
 * @param {string} address
 */
export function goOut(address) {
  if (!URL.canParse(address) || UNFIT_SCHEMES.has(new URL(address).protocol)) throw new Error("The hub named an address that no page may go to.");
  location.assign(address);
}

/**
 * Change the query of this page, which is then shown anew; what is null or empty is taken out.
 * @param {Record<string, any>} changes
 * @param {{quiet?: boolean}} [options] `quiet`: only the address changes.
 */
export function setQuery(changes, { quiet = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, String(value));
  }
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
  if (!quiet) changed("query");
}

/**
 * Make a link within the console.
 * @param {string} href @param {...import("./dom.js").Child} children @returns {HTMLAnchorElement}
 */
export function link(href, ...children) {
  return h("a", { href, on: { click: follow } }, ...children);
}

function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.getAttribute("href"));
}

/**
 * Find the route of a path: `/jobs/{id}` fits `/jobs/7` with `{id: "7"}`.
 * @param {{path: string}[]} routes @param {string} pathname
 */
export function match(routes, pathname) {
  const parts = pathname.split("/");
  for (const route of routes) {
    const wanted = route.path.split("/");
    const params = {};
    const fits = wanted.length === parts.length && wanted.every((one, i) => {
      if (!one.startsWith("{")) return one === parts[i];
      params[one.slice(1, -1)] = decode(parts[i]);
      return parts[i] !== "";
    });
    if (fits) return { route, params };
  }
  return null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
