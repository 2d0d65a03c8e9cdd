// The list of jobs: rows that hold still while somebody reads or points at them, and a way into history.

import { h, icon, replace } from "../core/dom.js";
import { duration, elapsed, number, time } from "../core/format.js";
import { badge, button, empty, failure, loading, table } from "../core/parts.js";
import { link, setQuery } from "../core/router.js";
import { safe } from "../core/text.js";
import { ENDED, firstLine, jobName, reason, stateWord } from "./words.js";

/** Make the list, which holds still while the pointer is over it or text in it is selected. */
export function makeList(session) {
  const place = h("div", { class: "jobs-place" });
  const nothing = h("div", {});
  const grid = table({ columns: columns(session), key: (row) => row.id, empty: nothing, label: "Jobs" });
  grid.element.classList.add("jobs-table");
  const news = button([icon("up"), h("span", {})], () => settle(true), { kind: "primary", class: "news" });
  const pager = h("nav", { class: "pager", "aria-label": "Pages of jobs" });
  const element = h("div", { class: "jobs-list" }, news, place, pager);
  let latest = [];
  let shown = [];
  let isHovered = false;
  let cursor = null;
  let restart = () => {};

  const isHeld = () => isHovered || isSelecting(grid.element);
  const settle = (isForced = false) => {
    if (isHeld() && !isForced) {
      const fresh = new Map(latest.map((row) => [row.id, row]));
      shown = shown.map((row) => fresh.get(row.id) ?? row);
    } else shown = latest;
    grid.update(shown);
    const known = new Set(shown.map((row) => row.id));
    const count = latest.filter((row) => !known.has(row.id)).length;
    news.hidden = !count;
    news.lastChild.textContent = `${number(count)} new`;
  };
  const take = (rows, next) => {
    const isFirst = !place.contains(grid.element);
    latest = rows;
    settle(isFirst || !shown.length);
    if (isFirst) replace(place, grid.element);
    showPager(next);
  };
  const showPager = (next) => {
    const move = (to) => () => {
      setQuery({ cursor: to }, { quiet: true });
      scrollTo(0, 0);
      restart();
    };
    replace(pager,
      cursor && button("Newest", move(null)),
      cursor && h("span", { class: "muted", text: "An older page: new jobs don't come in here." }),
      next && button(["Older", icon("chevron")], move(next)));
  };
  element.addEventListener("pointerenter", (event) => (isHovered = event.pointerType === "mouse"));
  element.addEventListener("pointerleave", () => {
    isHovered = false;
    settle();
  });
  news.hidden = true;
  return {
    element, take,
    begin(filters, from, again) {
      cursor = from;
      restart = again;
      latest = shown = [];
      news.hidden = true;
      replace(nothing, Object.keys(filters).length
        ? empty("No job fits these filters", "Take one away, or look for something else.", link("/", "Show all jobs"))
        : empty("No jobs yet", "Run a tool, or call one through /mcp, and its job shows here at once.", link("/tools", "Find a tool")));
      if (!place.firstChild) replace(place, loading());
    },
    fail(error, again) {
      replace(place, failure(error, again));
      replace(pager);
    },
  };
}

function isSelecting(element) {
  const selection = getSelection();
  return !!selection && !selection.isCollapsed && element.contains(selection.anchorNode);
}

function columns(session) {
  return [
    { title: "State", class: "col-state", cell: (job) => badge(job.status, stateWord(job.status)) },
    { title: "Tool", class: "col-tool", cell: (job) => opener(job) },
    { title: "Server", class: "col-server", cell: (job) => serverName(job) },
    session.is_operator && { title: "User", class: "col-user", cell: (job) => job.user ? safe(job.user, { lines: 1, most: 64, button: false }) : h("span", { class: "muted", text: "operator" }) },
    { title: "Note", class: "col-note", cell: note },
    { title: "Age", class: "col-age number", cell: (job) => time(job.created_at) },
    { title: "Took", class: "col-took number", cell: took },
  ].filter(Boolean);
}

function opener(job) {
  const made = link(`/jobs/${job.id}`, jobName(job));
  made.dataset.open = "";
  return [made, h("code", { class: "job-id muted", text: job.id.slice(0, 8) })];
}

function serverName(job) {
  if (!job.server) return h("span", { class: "muted", text: job.server_ref_id ? "removed" : "–" });
  return safe(job.server, { lines: 1, most: 64, button: false });
}

/** Say in one line what is special about a job, so that rows keep their height. */
function note(job) {
  if (job.status === "failed") return h("span", { class: "tone-bad" }, safe(firstLine(job.error) || reason(job.error_code).plain, { lines: 1, most: 200, button: false }));
  if (job.status === "pending" && job.error_code === "approval-needed") {
    return h("span", { class: "muted" }, "waits for a yes, too late ", time(job.available_at));
  }
  if (job.status === "pending" && Date.parse(job.available_at) > Date.now()) {
    return h("span", { class: "muted" }, "starts ", time(job.available_at), job.error_code ? ` · ${job.error_code.replaceAll("-", " ")}` : "");
  }
  if (job.attempt > 1 && !ENDED.has(job.status)) return h("span", { class: "muted", text: `attempt ${job.attempt} of ${job.max_attempts}` });
  return null;
}

function took(job) {
  if (job.status === "running" && job.started_at) return elapsed(job.started_at);
  if (!job.completed_at || !job.started_at) return "–";
  return duration(job.duration_ms ?? Date.parse(job.completed_at) - Date.parse(job.started_at));
}

