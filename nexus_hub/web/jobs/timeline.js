// The steps of one job in the order in which they happened.

import { h } from "../core/dom.js";
import { duration, time } from "../core/format.js";
import { safe } from "../core/text.js";

const WORDS = {
  stored: "Stored", dispatched: "Handed to Prefect", claimed: "Taken by a worker", sent: "Sent to the server", called: "Called",
  snoozed: "Put off", rescued: "Rescued from a lost worker", handed: "Handed over to Prefect", cancel_requested: "Cancel asked for", ended: "Ended",
};

/**
 * Show the steps.
 * @param {{at: string, event: string, attempt: number | null, detail: string | null}[]} items
 * @returns {HTMLElement}
 */
export function timeline(items) {
  let before = null;
  return h("ol", { class: "timeline" }, items.map((one) => {
    const at = Date.parse(one.at);
    const gap = before === null ? null : at - before;
    before = at;
    return h("li", { data: { event: one.event, detail: one.event === "ended" ? one.detail ?? "" : "" } },
      h("div", { class: "step" }, h("span", { class: "step-word", text: WORDS[one.event] ?? one.event }),
        one.attempt > 1 && h("span", { class: "muted small", text: `attempt ${one.attempt}` })),
      one.detail && h("div", { class: "muted small" }, safe(one.detail, { lines: 2, most: 160 })),
      h("div", { class: "step-time muted small" }, time(one.at), gap !== null && gap > 0 && at <= Date.now() && h("span", { text: `after ${duration(gap)}` })));
  }));
}
