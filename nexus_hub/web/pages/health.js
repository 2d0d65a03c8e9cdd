// The hub's health: what is wrong and what to do, its parts, the queue, and the last hour.
import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { duration, number } from "../core/format.js";
import { every } from "../core/live.js";
import { badge, empty, failure, page, sparkline, table } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";

const POLL_SECONDS = 5;

/** Name the page. */
export const title = () => "Health";

/** Show the hub's health and keep it up to date. */
export async function render(root, { session, signal }) {
  const own = session.is_operator ? "" : " The figures are of your own jobs.";
  const { head, body } = page(title(), { lead: `The last hour, and this moment.${own}` });
  const advice = h("div", { class: "advice", "aria-live": "polite" });
  const figures = h("div", { class: "figures" });
  const charts = h("div", { class: "charts" });
  const parts = h("ul", { class: "hub-parts" });
  const trouble = h("div", {});
  const servers = table({
    columns: SERVER_COLUMNS,
    key: (row) => row.server ?? "",
    label: "Servers, the last hour",
    empty: empty("No job has ended in the last hour", link("/tools", "Run a tool to see one.")),
  });
  body.append(
    trouble,
    advice,
    section("Queue", figures),
    section("Parts", parts),
    section("The last hour", charts),
    section("By server, the last hour", servers.element),
  );
  body.classList.add("health");
  root.append(head, body);

  const shown = { advice: "", parts: "" };
  const reload = async () => {
    try {
      const health = await get("/v1/health", {}, { signal });
      replace(trouble);
      unlessSame(shown, "advice", health.advice, () => replace(advice, advise(health.advice)));
      unlessSame(shown, "parts", health.parts, () => replace(parts, health.parts.map(part)));
      replace(figures, queue(health.queue));
      replace(charts, drawn(health.hour.minutes));
      servers.update(health.hour.by_server);
    } catch (error) {
      if (!signal.aborted) replace(trouble, failure(error, reload));
    }
  };
  await every(POLL_SECONDS, reload, signal);
}

/** Draw a part of the page anew only when it changed: a screen reader hears of changes alone. */
function unlessSame(shown, name, value, draw) {
  const text = JSON.stringify(value);
  if (shown[name] === text) return;
  shown[name] = text;
  draw();
}

function section(heading, ...children) {
  const id = `h-${heading.toLowerCase().replace(/\W+/g, "-")}`;
  return h("section", { "aria-labelledby": id }, h("h2", { id, text: heading }), ...children);
}

function advise(items) {
  if (!items.length) {
    return h("p", { class: "all-well" }, badge("ok"), " Nothing is wrong.");
  }
  return h("ul", {}, items.map((item) => h("li", { class: "advice-item", data: { severity: item.severity } },
    badge(item.severity),
    h("div", {}, h("strong", {}, safe(item.title, { lines: 2 })), h("p", {}, safe(item.what_to_do, { lines: 4 }))),
    item.href?.startsWith("/") && item.href !== location.pathname ? link(item.href, "Show") : null)));
}

function part({ name, state, detail, what_to_do: remedy }) {
  return h("li", { class: "hub-part", data: { state } },
    h("p", { class: "hub-part-name" }, h("strong", { text: name }), badge(state)),
    detail ? h("p", { class: "muted" }, safe(detail, { lines: 3 })) : null,
    remedy ? h("p", {}, safe(remedy, { lines: 4 })) : null);
}

const QUEUE = [
  ["waiting", "Waiting", "pending"],
  ["running", "Running", "running"],
  ["later", "To be tried later", "pending"],
];

function queue(counts) {
  const oldest = counts.oldest_seconds === null ? "–" : duration(counts.oldest_seconds * 1000);
  return [
    ...QUEUE.map(([member, label, status]) => figure(label, link(`/jobs?status=${status}`, number(counts[member])))),
    figure("Oldest waiting", oldest),
  ];
}

const figure = (label, value) => h("dl", { class: "figure" }, h("dt", { text: label }), h("dd", {}, value));

function drawn(minutes) {
  const of = (member) => minutes.map((minute) => minute[member]);
  return [
    chart("Ended", inAll(of("ended")), of("ended"), "jobs a minute"),
    chart("Failed", inAll(of("failed")), of("failed"), "jobs a minute", "bad"),
    chart("Half are done within", typical(of("p50_ms")), of("p50_ms"), "ms, p50"),
    chart("95 of 100 are done within", typical(of("p95_ms")), of("p95_ms"), "ms, p95"),
  ];
}

function inAll(values) {
  const known = values.map((value) => value ?? 0);
  return `${number(known.reduce((total, value) => total + value, 0))} in all, ${number(Math.max(...known, 0))} a minute at most`;
}

/** Give the last time that there is, and the longest. */
function typical(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? `${duration(known.at(-1))} now, ${duration(Math.max(...known))} at most` : "no job has ended";
}

function chart(label, caption, points, unit, tone = "accent") {
  return h("figure", { class: "chart" },
    h("figcaption", {}, h("strong", { text: label }), h("span", { class: "muted small", text: caption })),
    sparkline({ points, label: `${label}, the last 60 minutes`, unit, tone }),
    h("p", { class: "axis muted", "aria-hidden": true }, h("span", { text: "60 minutes ago" }), h("span", { text: "now" })));
}

const SERVER_COLUMNS = [
  { title: "Server", cell: (row) => (row.server ? link(`/jobs?${new URLSearchParams({ server: row.server })}`, safe(row.server, { lines: 1 })) : "removed") },
  { title: "Ended", class: "number", cell: (row) => number(row.ended) },
  { title: "Failed", class: "number", cell: (row) => failedOf(row) },
  { title: "p50", class: "number", cell: (row) => milliseconds(row.p50_ms) },
  { title: "p95", class: "number", cell: (row) => milliseconds(row.p95_ms) },
  { title: "Most frequent error", cell: (row) => (row.top_error ? safe(row.top_error, { lines: 2 }) : null) },
];

const milliseconds = (value) => (value === null ? "–" : duration(value));

function failedOf(row) {
  if (!row.failed || !row.server) return number(row.failed);
  const query = new URLSearchParams({ server: row.server, status: "failed" });
  return link(`/jobs?${query}`, number(row.failed));
}
