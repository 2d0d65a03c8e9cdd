// The first words about a job: why it waits, how far it is, why it failed and what to do next.

import { h, icon } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { reason } from "./words.js";

const OWN_ERROR = "Its words are in the result below. The hub has done its part: change the arguments by what the tool says, and run it again.";

/** Make what is to be said about a job in its state, if anything. @param {any} job @returns {HTMLElement | null} */
export function makeNotice(job) {
  if (job.status === "failed") return failureNotice(job);
  if (job.status === "running") return progressNotice(job);
  if (job.status === "pending") return waitNotice(job);
  if (job.status === "cancelled") return job.error ? notice("off", "stop", "Cancelled", safe(job.error, { most: 500 })) : null;
  return job.result?.isError === true ? notice("warn", "warning", "The tool ran and reported an error", OWN_ERROR) : null;
}

function notice(tone, sign, heading, ...content) {
  return h("section", { class: `notice notice-${tone}` }, h("span", { class: `tone-${tone}` }, icon(sign)),
    h("div", {}, h("h2", { text: heading }), content.map((one) => one && h("div", {}, one))));
}

function failureNotice(job) {
  const { plain, next } = reason(job.error_code);
  return notice("bad", "cross", plain, next,
    job.error && h("div", { class: "notice-words" }, safe(job.error, { lines: 6, most: 1200 })),
    job.error_code && h("p", { class: "muted small" }, "Code ", h("code", { text: job.error_code }), job.attempt ? ` · attempt ${job.attempt} of ${job.max_attempts}` : null));
}

function progressNotice(job) {
  const progress = job.progress;
  const done = toNumber(progress?.progress), total = toNumber(progress?.total);
  const hasTotal = total !== null && total > 0 && done !== null;
  const bar = h("progress", { "aria-label": "Progress", ...(hasTotal ? { max: total, value: Math.min(done, total) } : {}) });
  const words = hasTotal ? `${number(done)} of ${number(total)} · ${Math.floor((100 * Math.min(done, total)) / total)} %` : done !== null ? number(done) : null;
  return notice("run", "play", progress ? "Running" : "Running; the tool says nothing about its progress", bar,
    progress && h("p", { class: "progress-words" }, words && h("span", { text: words }), progress.message && h("span", { class: "muted" }, safe(progress.message, { lines: 2, most: 300 }))));
}

function toNumber(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function waitNotice(job) {
  const waits = job.waits;
  const isLater = Date.parse(job.available_at) > Date.now();
  if (waits?.for === "approval" || job.error_code === "approval-needed") return approvalNotice(job.approval ?? waits?.approval);
  if (waits?.for === "time" || (!waits && isLater)) {
    const code = waits?.reason ?? job.error_code;
    return notice("wait", "clock", "Waits for its time", h("p", {}, "It goes on ", time(waits?.until ?? job.available_at), "."), code && reason(code).plain);
  }
  if (waits?.for === "queue") {
    const ahead = waits.position > 1000 ? "behind more than 1,000 others of the same user" : `number ${number(waits.position)} among those of the same user`;
    return notice("wait", "clock", "Waits for its turn", `It is ${ahead}; ${number(waits.running)} of them run now.`);
  }
  if (waits?.for === "flow-run") return notice("wait", "clock", "Waits for its flow run to begin", "If that takes long, see on Health if workers are up.");
  if (waits?.for === "prefect") return notice("wait", "clock", "Waits for Prefect", "Prefect has not been told of it yet: that takes a moment, or as long as Prefect is away.");
  return notice("wait", "clock", "Waits to begin", "A worker takes it as soon as one is free.");
}

function approvalNotice(asked) {
  const heading = "Waits for a person’s yes";
  if (!asked) return notice("wait", "clock", heading, "It begins once somebody who may has said it; its page says who.");
  const who = ["an operator", ...asked.approvers.map((name) => `a member of ${name}`), asked.self_approval && "whoever asked, in person"].filter(Boolean);
  return notice("wait", "clock", heading, `Who may say it: ${who.join(", ")}. It begins then.`, link(`/approvals/${asked.id}`, "Open the approval"));
}
