// The audit: who did what, when and from where; filters stand in the URL.
import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { every } from "../core/live.js";
import { badge, button, empty, failure, field, page, table } from "../core/parts.js";
import { link, setQuery } from "../core/router.js";
import { safe, visible } from "../core/text.js";

const PAGE = 50;
const MOST_SHOWN = 1000;
const FOLLOW_SECONDS = 3;
const SPANS = { "1 hour": 3600, "1 day": 86400, "7 days": 7 * 86400, "30 days": 30 * 86400 };
const FILTERS = ["user", "action", "server", "search"];

/** Name the page. */
export const title = () => "Audit";

/** Show the entries that the URL asks for, newest first. */
export async function render(root, { query, signal }) {
  const state = { items: [], cursor: null, seen: new Set() };
  const more = h("div", { class: "more" });
  const trouble = h("div", {});
  const status = h("p", { class: "muted", role: "status" });
  const entries = table({
    columns: COLUMNS,
    key: keyOf,
    label: "Entries",
    empty: empty("No entry fits", "Take a filter away, or choose a longer time."),
  });
  const { head, body } = page(title(), {
    lead: "Who listed, called, cancelled, registered, rotated, logged in or was refused. Entries can only be added; arguments stand as digests.",
  });
  const reload = guarded(trouble, signal, () => turn(null));
  const turn = async (cursor) => {
    const found = await get("/v1/audit", { ...asked(query), limit: PAGE, cursor }, { signal });
    if (!cursor) state.items = [];
    add(found.items, "append");
    state.cursor = found.next_cursor;
    show();
  };
  const add = (items, where) => {
    const fresh = items.filter((item) => where === "append" || !state.seen.has(keyOf(item)));
    for (const item of fresh) state.seen.add(keyOf(item));
    state.items = (where === "append" ? [...state.items, ...fresh] : [...fresh, ...state.items]).slice(0, MOST_SHOWN);
    return fresh.length;
  };
  const show = () => {
    entries.update(state.items);
    const full = state.items.length >= MOST_SHOWN;
    replace(more, full ? h("p", { class: "muted", text: `${MOST_SHOWN} entries are shown: narrow the time, or use nexus-hub audit.` })
      : state.cursor ? button("Older entries", () => turn(state.cursor)) : null);
  };
  body.append(filters(query, status, signal, guarded(trouble, signal, async () => {
    const newest = state.items[0]?.at;
    const found = await get("/v1/audit", { ...asked(query), ...(newest && { since: newest }), limit: PAGE }, { signal });
    const count = add(found.items, "before");
    if (count) show();
  })), trouble, entries.element, more);
  body.classList.add("audit");
  root.append(head, body);
  await reload();
}

/** Say what went wrong above what is shown, which stays. */
const guarded = (trouble, signal, act) => async function again() {
  try {
    await act();
    replace(trouble);
  } catch (error) {
    if (!signal.aborted) replace(trouble, failure(error, again));
  }
};

const keyOf = (entry) => entry.id;

function asked(query) {
  const params = Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]).filter(([, value]) => value));
  const span = SPANS[query.get("span")];
  const since = query.get("since") ?? (span ? new Date(Date.now() - span * 1000).toISOString() : null);
  return { ...params, since, until: query.get("until") };
}

function filters(query, status, signal, look) {
  const inputs = FILTERS.map((name) => input(name, query.get(name)));
  const span = h("select", { name: "span" }, h("option", { value: "", text: "all there is" }),
    Object.keys(SPANS).map((text) => h("option", { value: text, selected: text === query.get("span"), text: `the last ${text}` })));
  const submit = (event) => {
    event.preventDefault();
    setQuery(Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim() || null])));
  };
  const following = h("input", { type: "checkbox" });
  following.addEventListener("change", () => {
    following.stop?.abort();
    status.textContent = following.checked ? "New entries appear at the top." : "";
    if (!following.checked) return;
    following.stop = new AbortController();
    every(FOLLOW_SECONDS, look, AbortSignal.any([signal, following.stop.signal]));
  });
  return h("form", { class: "filters", role: "search", "aria-label": "Entries", on: { submit } },
    field("Time", span), inputs.map(([label, element]) => field(label, element)),
    h("button", { class: "button button-plain", type: "submit", text: "Show" }),
    field("Follow", following), status);
}

/** In the order in which to look: each later one stands in what the earlier ones send, too. */
const BROWSERS = [
  ["Edge", /Edg\/(\d+)/], ["Opera", /OPR\/(\d+)/], ["Firefox", /Firefox\/(\d+)/], ["Chrome", /Chrome\/(\d+)/],
  ["Safari", /Version\/(\d+).* Safari/],
];
const HINTS = { user: "a name, operator", action: "job.submit, or job." };
const LABELS = { user: "User", action: "Action", server: "Server", search: "Search" };

function input(name, value) {
  const type = name === "search" ? "search" : "text";
  return [LABELS[name], h("input", { name, type, value: value ?? "", placeholder: HINTS[name], autocomplete: "off", spellcheck: "false" })];
}

const COLUMNS = [
  { title: "When", class: "brief", cell: (entry) => time(entry.at) },
  { title: "Who", cell: (entry) => safe(entry.actor ?? "unknown", { lines: 1 }) },
  { title: "Did", class: "brief", cell: (entry) => h("code", { text: entry.action }) },
  { title: "What", cell: (entry) => subject(entry) },
  { title: "Outcome", class: "brief", cell: (entry) => cell(badge(entry.outcome), entry.code && h("code", { class: "muted", text: entry.code }), entry.times > 1 && `× ${number(entry.times)}`) },
  { title: "From", cell: (entry) => from(entry) },
  { title: "Digest", class: "brief", cell: (entry) => (entry.digest ? h("code", { title: entry.digest, text: entry.digest.slice(0, 8) }) : null) },
];

function subject(entry) {
  const of = [entry.server, entry.tool].filter(Boolean).join(" / ");
  const target = entry.target && !(entry.tool && entry.target.endsWith(entry.tool)) && h("span", { class: of && "muted" }, safe(entry.target, { lines: 2 }));
  return (of || target || entry.job_id) && cell(of && safe(of, { lines: 2 }), target, entry.job_id && link(`/jobs/${entry.job_id}`, "job"));
}

function from(entry) {
  const client = entry.client && h("span", { class: "client muted", title: visible(entry.client) },
    safe(briefly(entry.client), { lines: 1, most: 60, button: false }));
  return cell(entry.address && h("code", { text: entry.address }), client);
}

/** Name a browser in two words: what it sends names all browsers, and the whole of it is on hover. */
function briefly(client) {
  const browser = client.startsWith("Mozilla/") && BROWSERS.find(([, pattern]) => pattern.test(client));
  return browser ? `${browser[0]} ${browser[1].exec(client)[1]}` : client;
}

const cell = (...parts) => h("div", { class: "cell" }, parts);
