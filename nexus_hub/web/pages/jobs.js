// Jobs, moving live: filters in the address, the newest first, and a way into history.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { duration, number } from "../core/format.js";
import { every } from "../core/live.js";
import { page } from "../core/parts.js";
import { link } from "../core/router.js";
import { makeFilters, readFilters } from "../jobs/filters.js";
import { makeList } from "../jobs/list.js";
import { keepUp } from "../jobs/moving.js";

const COUNT_SECONDS = 5;
const HOUR_SECONDS = 30;
const STREAM_WORDS = { live: "Live", connecting: "Connecting", paused: "Paused", offline: "Offline, trying again" };

/** @returns {string} */
export function title() {
  return "Jobs";
}

/** @param {HTMLElement} root @param {{session: any, signal: AbortSignal}} context */
export async function render(root, { session, signal }) {
  const stream = h("span", { class: "stream" });
  const onStatus = (status) => {
    stream.dataset.status = status;
    stream.textContent = STREAM_WORDS[status];
  };
  const counts = h("span", { class: "counts muted" }), failed = h("span", {});
  const { head, body } = page("Jobs", { actions: h("div", { class: "jobs-state" }, failed, counts, stream) });
  head.classList.add("jobs-head");
  const list = makeList(session);
  let feed = new AbortController();
  const restart = () => {
    feed.abort();
    feed = new AbortController();
    const filters = readFilters(), cursor = new URLSearchParams(location.search).get("cursor");
    list.begin(filters, cursor, restart);
    const onFailure = (error) => list.fail(error, restart);
    keepUp({ filters, cursor, onRows: list.take, onFailure, onStatus }, AbortSignal.any([signal, feed.signal]));
  };
  const bar = makeFilters(session.is_operator, restart, signal);
  body.append(bar.element, list.element);
  replace(root, head, body);
  onStatus("connecting");
  restart();
  every(COUNT_SECONDS, async () => {
    const queue = await get("/v1/queue", undefined, { signal });
    bar.count(queue);
    replace(counts, sumUp(queue));
  }, signal).catch(() => {});
  every(HOUR_SECONDS, async () => {
    const { hour } = await get("/v1/health", undefined, { signal });
    const count = (hour?.minutes ?? []).reduce((sum, one) => sum + (one.failed ?? 0), 0);
    replace(failed, count > 0 && link("/?status=failed", `${number(count)} failed in the last hour`));
  }, signal).catch(() => {});
}

/** Say in a few words how long the queue is. */
function sumUp({ waiting, later, users }) {
  const oldest = Math.max(0, ...users.map((one) => one.oldest_seconds ?? 0));
  return [
    waiting > 0 && h("span", { text: `oldest waits ${duration(oldest * 1000)}` }),
    later > 0 && h("span", { text: `${number(later)} for later` }),
  ];
}
