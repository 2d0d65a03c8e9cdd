// A page of jobs that moves: fetched once, then kept up with by the event stream.

import { get } from "../core/api.js";
import { follow } from "../core/live.js";

const PAGE = 50;
const SHOW_MS = 250;
const FETCH_MS = 1000;
/** So many times as long as a request took nothing more is asked for. */
const EASE = 2;
const LONGEST_MS = 5000;

/**
 * Keep up with the newest jobs that fit the filters, or with an older page of them.
 *
 * Events tell states at once. What they don't tell (times, errors, jobs not on the page) is asked for together, at most
 * once a second, however many events come.
 * @param {{filters: Record<string, string>, cursor: string | null, onRows: (rows: any[], next: string | null) => void,
 *   onStatus: (status: string) => void, onFailure: (error: any) => void}} options
 * @param {AbortSignal} signal
 */
export function keepUp({ filters, cursor, onRows, onStatus, onFailure }, signal) {
  /** @type {any[]} */
  let rows = [];
  /** @type {string | null} */
  let next = null;
  /** The newest event of each shown job that is newer than its row. @type {Map<string, any>} */
  const heard = new Map();
  let isBehind = false;
  let showing = 0;
  let fetching = 0;
  let isLoaded = false;

  const show = () => {
    showing ||= setTimeout(() => {
      showing = 0;
      rows = rows.map(patch);
      onRows(rows, next);
    }, SHOW_MS);
  };
  const patch = (row) => {
    const brief = heard.get(row.id);
    if (!brief || brief.version <= row.version) return row;
    return { ...row, ...brief, isPartial: true };
  };
  /** Put fetched rows in; one that is as it was keeps its object, by which the table knows it. */
  const merge = (found) => {
    const known = new Map(rows.map((row) => [row.id, row]));
    return found.map((row) => {
      if ((heard.get(row.id)?.version ?? 0) <= row.version) heard.delete(row.id);
      const old = known.get(row.id);
      return old && !old.isPartial && old.version === row.version ? old : patch(row);
    });
  };
  const load = async () => {
    isBehind = false;
    const found = await get("/v1/jobs", { ...filters, limit: PAGE, cursor }, { signal });
    rows = merge(found.items);
    next = found.next_cursor;
    const shown = new Set(rows.map((row) => row.id));
    for (const id of heard.keys()) if (!shown.has(id)) heard.delete(id);
    isLoaded = true;
    onRows(rows, next);
  };
  const loadDetails = async () => {
    const ids = rows.filter((row) => row.isPartial).map((row) => row.id);
    if (!ids.length) return;
    const found = await get("/v1/jobs", { ids: ids.join(","), limit: ids.length }, { signal });
    const fresh = new Map(merge(found.items).map((row) => [row.id, row]));
    rows = rows.map((row) => fresh.get(row.id) ?? { ...row, isPartial: false });
    onRows(rows, next);
  };
  const fetchSoon = (pause = FETCH_MS) => {
    fetching ||= setTimeout(async () => {
      const began = performance.now();
      try {
        if (isBehind) await load();
        else await loadDetails();
      } catch (error) {
        if (signal.aborted) return;
        isBehind = true;
        if (!isLoaded) onFailure(error);
      }
      fetching = 0;
      const isDone = !isBehind && !rows.some((row) => row.isPartial);
      if (!isDone && !signal.aborted) fetchSoon(Math.min(LONGEST_MS, Math.max(FETCH_MS, EASE * (performance.now() - began))));
    }, pause);
  };
  const fallBehind = () => {
    isBehind = true;
    fetchSoon();
  };
  const hear = (brief) => {
    const row = rows.find((one) => one.id === brief.id);
    if (!row) {
      // Older pages gain no jobs, and a job in another state does not come into the list by it.
      if (!cursor && (!filters.status || filters.status === brief.status)) fallBehind();
    } else if (brief.version > Math.max(row.version, heard.get(brief.id)?.version ?? 0)) {
      heard.set(brief.id, brief);
      show();
      if (filters.status && brief.status !== filters.status) fallBehind();
      else fetchSoon();
    }
  };

  signal.addEventListener("abort", () => {
    clearTimeout(showing);
    clearTimeout(fetching);
  });
  load().catch((error) => signal.aborted || onFailure(error)).finally(() => {
    follow("/v1/jobs/events", { onState: hear, onResync: fallBehind, onStatus }, signal);
  });
}
