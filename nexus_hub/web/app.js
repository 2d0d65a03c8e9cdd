// The console: finds the page of an address, and shows it within the frame of header and navigation.

import { h, icon, replace } from "./core/dom.js";
import { listen } from "./core/keyboard.js";
import { navigation, seenPlaces } from "./core/navigation.js";
import { button, failure, message, page, toast } from "./core/parts.js";
import { go, link, match, onMove } from "./core/router.js";
import { logOut, session, watchUser } from "./core/session.js";
import { themeButton } from "./core/theme.js";

/**
 * `page`: the module in pages/; `style`: a style sheet of its own; `place`: the entry of the navigation.
 * `open`: shown to everybody; `bare`: without the header, for one question that stands alone.
 */
const ROUTES = [
  { path: "/", page: "jobs", style: "jobs", place: "/" },
  { path: "/jobs", page: "jobs", style: "jobs", place: "/" },
  { path: "/jobs/{id}", page: "job", style: "jobs", place: "/" },
  { path: "/login", page: "login", style: "access", open: true },
  { path: "/oauth/consent", page: "consent", style: "access", bare: true },
  { path: "/oauth/callback", page: "callback", style: "access", open: true },
  { path: "/account", page: "account", style: "grants", place: "/account" },
  { path: "/servers", page: "servers", style: "servers", place: "/servers" },
  { path: "/servers/{type}/{id}", page: "server", style: "servers", place: "/servers" },
  { path: "/tools", page: "tools", style: "tools", place: "/tools" },
  { path: "/tools/{name}", page: "tool", style: "tools", place: "/tools" },
  { path: "/approvals", page: "approvals", style: "grants", place: "/approvals" },
  { path: "/approvals/{id}", page: "approval", style: "grants", place: "/approvals" },
  { path: "/bundles", page: "bundles", style: "grants", place: "/bundles" },
  { path: "/bundles/{name}", page: "bundle", style: "grants", place: "/bundles" },
  { path: "/changes", page: "changes", style: "grants", place: "/changes" },
  { path: "/access", page: "access", style: "grants", place: "/access" },
  { path: "/access/{group}", page: "group", style: "grants", place: "/access" },
  { path: "/keys", page: "keys", style: "admin", place: "/keys" },
  { path: "/users", page: "users", style: "admin", place: "/users" },
  { path: "/users/{id}", page: "user", style: "grants", place: "/users" },
  { path: "/health", page: "health", style: "admin", place: "/health" },
  { path: "/audit", page: "audit", style: "admin", place: "/audit" },
];
const QUICK_MS = 200;

const main = document.querySelector("main");
const header = document.querySelector("header");
/** @type {import("./core/session.js").Session | null} */
let who = null;
let leaving = new AbortController();
let shownPath = "";

/** Show the page of this address. @param {"page" | "query"} kind `query`: the same page with another query */
async function show(kind) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const isSame = kind === "query" || location.pathname === shownPath;
  shownPath = location.pathname;
  const root = h("div", { class: "page" });
  const { route, params } = match(ROUTES, location.pathname) ?? { route: null, params: {} };
  const rendering = render(root, route, params, signal).catch((error) => fail(root, error, signal));
  if (isSame) await Promise.race([rendering, new Promise((resolve) => setTimeout(resolve, QUICK_MS))]);
  if (signal.aborted) return;
  swap(root, isSame);
}

async function render(root, route, params, signal) {
  if (!route) return showMissing(root);
  const opened = Promise.all([import(`./pages/${route.page}.js`), route.style && loadStyle(route.style)]);
  opened.catch(() => {});
  who = route.open ? null : await session();
  const [module] = await opened;
  if (signal.aborted) return;
  showHeader(route);
  document.title = `${module.title(params)} · nexus-hub`;
  await module.render(root, { params, query: new URLSearchParams(location.search), session: who, signal });
}

function fail(root, error, signal) {
  if (signal.aborted || error.name === "AbortError" || error.status === 401) return;
  const { head, body } = page("This page can't be shown");
  body.append(failure(error, () => show("page")));
  replace(root, head, body);
}

function showMissing(root) {
  showHeader({});
  document.title = "Not found · nexus-hub";
  const { head, body } = page("There is no such page", { lead: "The address may be misspelled." });
  body.append(button("Go to Jobs", () => go("/"), { kind: "primary" }));
  replace(root, head, body);
}

/** Put a page in the place of the one before; a new page gets the focus, the same one keeps it. */
function swap(root, isSame) {
  const focused = isSame && main.contains(document.activeElement) ? document.activeElement : null;
  const twin = () => {
    if (focused?.id) return document.getElementById(focused.id);
    return focused?.name ? root.querySelector(`[name="${CSS.escape(focused.name)}"]`) : null;
  };
  replace(main, root);
  if (!isSame) {
    scrollTo(0, 0);
    if (!document.activeElement || document.activeElement === document.body) main.focus({ preventScroll: true });
  } else twin()?.focus({ preventScroll: true });
}

/** Load a style sheet once; a page does not fail for want of it. @param {string} name @returns {Promise<void>} */
function loadStyle(name) {
  const href = `/assets/style/${name}.css`;
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((resolve) => {
    document.head.append(h("link", { rel: "stylesheet", href, on: { load: () => resolve(), error: () => resolve() } }));
  });
}

function showHeader(route) {
  header.hidden = !who || route.bare === true;
  if (header.hidden) return replace(header);
  replace(header,
    h("div", { class: "header-row" },
      h("a", { class: "brand", href: "/", on: { click: (event) => (event.preventDefault(), go("/")) } }, icon("mark"), h("span", { text: "nexus-hub" })),
      navigation(who, route.place, leaving.signal),
      h("div", { class: "header-end" }, accountLink(route),
        themeButton(), h("button", { type: "button", class: "icon-button", title: "Log out", "aria-label": "Log out", on: { click: leave } }, icon("exit")))));
}

function accountLink(route) {
  const made = link("/account", who.user.name);
  made.className = "who";
  made.setAttribute("aria-label", `Account of ${who.user.name}`);
  made.title = who.is_operator ? "Your account; you are an operator" : "Your account; you see what is yours";
  if (route.place === "/account") made.setAttribute("aria-current", "page");
  return made;
}

/** Log out; the page stops first, so that nothing of it asks for more without a session. */
async function leave() {
  leaving.abort();
  try {
    await logOut();
    go("/login");
  } catch (error) {
    show("query");
    toast(message(error), { kind: "bad" });
  }
}

addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  const error = event.reason;
  if (error?.name === "AbortError" || error?.status === 401) return;
  toast(message(error), { kind: "bad" });
});
addEventListener("pageshow", (event) => event.persisted && show("page"));
onMove(show);
watchUser();
listen(() => (who ? seenPlaces(who) : []));
show("page");
