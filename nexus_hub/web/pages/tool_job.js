// The job that a tool's form has made, followed on the spot.

import { del, get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { follow } from "../core/live.js";
import { badge, button } from "../core/parts.js";
import { link } from "../core/router.js";
import { memberText } from "../jobs/member.js";
import { resultCard } from "../jobs/payload.js";
import { ENDED, stateWord } from "../jobs/words.js";
import { makeNotice } from "../jobs/notices.js";

/**
 * Show a job and follow it until it has ended.
 * @param {any} first its row @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function jobView(first, signal) {
  const path = `/v1/jobs/${first.id}`;
  const ended = new AbortController();
  const state = h("span", { role: "status" });
  const notice = h("div", { class: "notices" });
  const result = h("div", {});
  const cancel = button("Cancel job", async () => {
    await del(path, { signal }).catch((error) => {
      if (error.code !== "job-ended") throw error;
    });
    await reload();
  }, { kind: "danger" });
  let version = -1;
  const show = (job, text) => {
    if (job.version < version) return;
    version = job.version;
    replace(state, badge(job.status, stateWord(job.status)), job.result?.isError === true && [" ", badge("warn", "the tool reported an error")]);
    replace(notice, makeNotice(job));
    cancel.hidden = ENDED.has(job.status);
    if (text && job.result && !result.firstChild) result.append(resultCard(memberText(text, "result") ?? "null", job.result, signal, { isOpen: true }));
    if (ENDED.has(job.status)) ended.abort();
  };
  const reload = async () => {
    const text = await get(path, undefined, { signal, text: true });
    show(JSON.parse(text), text);
  };
  const heard = (job, text) => ("params" in job ? show(job, text) : reload().catch(() => {}));
  show(first, null);
  if (!ENDED.has(first.status)) {
    follow(`${path}/events`, { onState: heard, onProgress: heard, onResync: () => reload().catch(() => {}) }, AbortSignal.any([signal, ended.signal]));
  } else reload().catch(() => {});
  return h("section", { class: "tool-job", "aria-label": "The job" },
    h("p", { class: "tool-job-head" }, state, " ", link(`/jobs/${first.id}`, "Open the job"), cancel), notice, result);
}
