// The places of the console, in groups: a row where there is room, else behind a button.

import { get } from "./api.js";
import { h, icon, replace } from "./dom.js";
import { number } from "./format.js";
import { every } from "./live.js";
import { newId } from "./parts.js";
import { link } from "./router.js";

/** `operator`: shown to operators alone; `count`: what waits there for somebody, counted by the function of that name. */
const GROUPS = [
  { title: "Work", places: [{ href: "/", title: "Jobs", key: "j" }, { href: "/approvals", title: "Approvals", key: "p", count: "approvals" }] },
  {
    title: "Catalog", places: [
      { href: "/tools", title: "Tools", key: "t" }, { href: "/bundles", title: "Bundles", key: "b" },
      { href: "/servers", title: "Servers", key: "s" }, { href: "/changes", title: "Changes", key: "c", count: "changes" },
    ],
  },
  { title: "People", places: [{ href: "/access", title: "Access", key: "r", operator: true }, { href: "/users", title: "Users", key: "u", operator: true }] },
  {
    title: "Hub", places: [
      { href: "/health", title: "Health", key: "h" }, { href: "/keys", title: "Keys", key: "k", operator: true },
      { href: "/audit", title: "Audit", key: "a", operator: true },
    ],
  },
];
const COUNT_SECONDS = 20;
const MOST_COUNTED = 100;
const COUNTS = {
  approvals: async (signal) => (await get("/v1/approvals", { state: "waiting", limit: MOST_COUNTED }, { signal })).items.filter((one) => one.may_decide).length,
  // One alone: their definitions come with them.
  changes: async (signal) => (await get("/v1/changes", { pending: true, limit: 1 }, { signal })).items.length,
};
const DOTS = new Set(["changes"]);

/** What was counted last for whom, so that a new page begins with it; null where one may not count. @type {Map<string, number | null>} */
const counted = new Map();

/** Give the groups of places that somebody sees. @param {import("./session.js").Session} session */
function seenGroups({ is_operator: isOperator }) {
  const groups = GROUPS.map((group) => ({ ...group, places: group.places.filter((one) => isOperator || !one.operator) }));
  return groups.filter((group) => group.places.length);
}

/** Give the places that somebody sees, for the keys. @param {import("./session.js").Session} session */
export function seenPlaces(session) {
  return seenGroups(session).flatMap((group) => group.places);
}

/**
 * Make the navigation; what waits is counted until the page is left.
 * @param {import("./session.js").Session} session @param {string | undefined} current the place of the page @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function navigation(session, current, signal) {
  const groups = seenGroups(session);
  const marks = Object.fromEntries(Object.keys(COUNTS).map((name) => [name, h("span", { class: ["nav-count", DOTS.has(name) && "nav-dot"], hidden: true })]));
  const list = h("div", { class: "nav-groups", id: newId() }, groups.map((group) => groupOf(group, current, marks)));
  const shown = groups.flatMap((group) => group.places).find((one) => one.href === current);
  const toggle = h("button", { type: "button", class: "nav-toggle", "aria-expanded": "false", "aria-controls": list.id, "aria-label": `Pages; this is ${shown?.title ?? "another"}` },
    shown?.title ?? "Pages", icon("chevron"));
  const open = (isOpen) => toggle.setAttribute("aria-expanded", String(isOpen));
  toggle.addEventListener("click", () => open(toggle.getAttribute("aria-expanded") === "false"));
  const element = h("nav", { "aria-label": "Pages" }, toggle, list);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || toggle.getAttribute("aria-expanded") === "false") return;
    open(false);
    toggle.focus();
  });
  document.addEventListener("click", (event) => !element.contains(/** @type {Node} */ (event.target)) && open(false), { signal });
  for (const [name, mark] of Object.entries(marks)) keepCount(name, session.user.id, mark, signal);
  return element;
}

function groupOf({ title, places }, current, marks) {
  const name = h("p", { class: "nav-title", id: newId(), text: title });
  return h("div", { class: "nav-group" }, name, h("ul", { "aria-labelledby": name.id }, places.map((one) => {
    const made = link(one.href, one.title, one.count && marks[one.count]);
    if (one.href === current) made.setAttribute("aria-current", "page");
    return h("li", {}, made);
  })));
}

function keepCount(name, userId, mark, signal) {
  const key = `${name} ${userId}`;
  const show = () => {
    const count = counted.get(key) ?? 0;
    mark.hidden = count === 0;
    replace(mark, DOTS.has(name) ? "" : count >= MOST_COUNTED ? `${number(MOST_COUNTED)}+` : number(count), h("span", { class: "visually-hidden", text: " waiting" }));
  };
  show();
  every(COUNT_SECONDS, async () => {
    if (counted.get(key) === null) return;
    try {
      counted.set(key, await COUNTS[name](signal));
    } catch (error) {
      if (error.status === 403) counted.set(key, null);
    }
    show();
  }, signal).catch(() => {});
}
