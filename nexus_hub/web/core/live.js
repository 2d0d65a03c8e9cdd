// Live changes: event streams and polling, both only while somebody looks.

import { get } from "./api.js";

const SHORTEST_PAUSE = 1000;
const LONGEST_PAUSE = 30000;

/**
 * Follow an event stream. It is closed while the tab is hidden, since a browser allows a host six connections; after
 * each pause `onResync` says that changes may have been missed.
 * @param {string} path
 * @param {{onState?: (data: any, text: string) => void, onProgress?: (data: any, text: string) => void,
 *   onResync?: () => void, onStatus?: (status: "live" | "connecting" | "paused" | "offline") => void}} handlers
 * @param {AbortSignal} signal
 */
export function follow(path, { onState, onProgress, onResync, onStatus }, signal) {
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  let pause = SHORTEST_PAUSE;
  let opened = 0;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.hidden) return onStatus?.("paused");
    onStatus?.("connecting");
    source = new EventSource(path);
    source.onopen = () => {
      pause = SHORTEST_PAUSE;
      onStatus?.("live");
      if (opened++) onResync?.();
    };
    source.onerror = () => lose();
    source.addEventListener("state", (event) => onState?.(JSON.parse(event.data), event.data));
    source.addEventListener("progress", (event) => onProgress?.(JSON.parse(event.data), event.data));
    source.addEventListener("resync", () => onResync?.());
  };
  // Not left to the browser, which gives up for good after an answer such as 429 or 503.
  const lose = () => {
    close();
    onStatus?.("offline");
    timer = setTimeout(() => {
      // An EventSource hides the status: this request goes to the log-in page after a 401.
      get("/v1/session", undefined, { signal }).then(open, () => signal.aborted || lose());
    }, pause * (0.75 + Math.random() / 2));
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  };

  if (signal.aborted) return;
  document.addEventListener("visibilitychange", open, { signal });
  addEventListener("pagehide", close, { signal });
  signal.addEventListener("abort", close);
  open();
}

/**
 * Call a function now and then every so many seconds, only while the page is visible.
 * @param {number} seconds @param {() => any} f @param {AbortSignal} signal
 * @returns {Promise<any>} of the first call; a later one that fails is tried again in its turn.
 */
export function every(seconds, f, signal) {
  let timer = 0;
  let running = false;
  const run = async () => {
    clearTimeout(timer);
    if (signal.aborted || running) return;
    running = true;
    try {
      if (!document.hidden) return await f();
    } finally {
      running = false;
      if (!signal.aborted) timer = setTimeout(() => run().catch(() => {}), seconds * 1000);
    }
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  document.addEventListener("visibilitychange", () => document.hidden || run().catch(() => {}), { signal });
  return run();
}
