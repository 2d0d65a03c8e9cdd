// One job, live: its state and why, what it was asked and what it gave, and its steps.

import { del, get, post } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { duration, elapsed, time } from "../core/format.js";
import { follow } from "../core/live.js";
import { badge, button, confirm, copy, failure, loading, page, toast } from "../core/parts.js";
import { go, link } from "../core/router.js";
import { safe } from "../core/text.js";
import { memberText } from "../jobs/member.js";
import { makeNotice } from "../jobs/notices.js";
import { argumentsCard, resultCard } from "../jobs/payload.js";
import { timeline } from "../jobs/timeline.js";
import { CALLS, ENDED, KINDS, jobName, stateWord } from "../jobs/words.js";

/** @returns {string} */
export function title() {
  return "Job";
}

/** @param {HTMLElement} root @param {{params: {id: string}, session: any, signal: AbortSignal}} context */
export async function render(root, { params, session, signal }) {
  const path = `/v1/jobs/${encodeURIComponent(params.id)}`;
  replace(root, loading());
  let text;
  try {
    text = await get(path, undefined, { signal, text: true });
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error;
    return showFailure(root, error, () => render(root, { params, session, signal }));
  }
  const view = new JobView(root, path, session, signal);
  view.show(JSON.parse(text), text);
  if (!ENDED.has(view.job.status)) view.follow();
}

function showFailure(root, error, retry) {
  const { head, body } = page(error.status === 404 ? "There is no such job" : "This job can't be shown", { lead: link("/", "All jobs") });
  const isMissing = error.status === 404 || error.status === 400;
  body.append(failure(error, isMissing ? null : retry));
  replace(root, head, body);
}

/** The page of a job: each part is made anew when what it shows has changed, and what was opened stays open. */
class JobView {
  constructor(root, path, session, signal) {
    this.path = path;
    this.session = session;
    this.signal = signal;
    /** @type {any} */
    this.job = {};
    /** @type {{server?: string | null, user?: string | null}} */
    this.names = {};
    /** @type {string | null} */
    this.runUrl = null;
    this.stream = new AbortController();
    this.state = h("span", { role: "status" });
    this.actions = h("div", { class: "page-actions" });
    this.name = h("h1", { tabindex: "-1" });
    this.lead = h("p", { class: "lead job-lead" });
    this.notice = h("div", { class: "notices" });
    this.payloads = h("div", { class: "payloads" });
    this.facts = h("dl", { class: "facts" });
    this.steps = h("div", {});
    this.hasResult = false;
    replace(root,
      h("div", { class: "page-head" }, h("div", { class: "page-title" }, h("p", { class: "crumb small" }, link("/", "Jobs")), h("div", { class: "job-title" }, this.name, this.state), this.lead), this.actions),
      h("div", { class: "job" },
        h("div", { class: "job-main" }, this.notice, this.payloads),
        h("aside", { class: "job-side", "aria-label": "About this job" },
          h("section", { class: "card card-pad" }, h("h2", { text: "Details" }), this.facts),
          h("section", { class: "card card-pad" }, h("h2", { text: "Steps" }), this.steps))));
  }

  /** Follow the job until it has ended. */
  follow() {
    const reload = () => this.reload().catch(() => {});
    follow(`${this.path}/events`, {
      onState: (job, text) => ("params" in job ? this.show(job, text) : reload()),
      onProgress: (job, text) => ("params" in job ? this.show(job, text) : reload()),
      onResync: reload,
    }, AbortSignal.any([this.signal, this.stream.signal]));
  }

  async reload() {
    const text = await get(this.path, undefined, { signal: this.signal, text: true });
    this.show(JSON.parse(text), text);
  }

  /** Show a row; one that is older than what is shown is passed over. */
  show(job, text) {
    if (job.version < (this.job.version ?? 0)) return;
    const isFirst = this.job.id === undefined;
    const isStep = ["status", "attempt", "available_at", "flow_run_id"].some((name) => job[name] !== this.job[name]);
    // Events do not tell of an approval: what was told of it stays.
    this.job = { ...job, waits: job.waits ?? null, approval: job.waits?.approval ?? this.job.approval };
    document.title = `${job.tool_name ?? KINDS[job.job_type] ?? "Job"}, ${stateWord(job.status)} · nexus-hub`;
    if (isFirst) {
      this.names = job; // events do not tell them
      this.showHead();
    }
    if (isStep) {
      replace(this.state, badge(job.status, stateWord(job.status)), job.result?.isError === true && badge("warn", "the tool reported an error"));
      this.showActions();
      this.showSteps().catch(() => {});
    }
    replace(this.notice, makeNotice(this.job));
    this.showPayloads(text, isFirst);
    this.showFacts();
    if (ENDED.has(job.status)) this.stream.abort();
  }

  showHead() {
    const { job, names } = this;
    replace(this.name, jobName(job));
    const bundle = job.server_ref_id ? "" : (job.called_as ?? "").split("__", 1)[0];
    const server = bundle
      ? link(`/bundles/${encodeURIComponent(bundle)}`, safe(bundle, { most: 64 }))
      : job.server_ref_id && link(`/servers/${job.server_type}/${job.server_ref_id}`, names.server ? safe(names.server, { most: 64 }) : "its server");
    replace(this.lead, KINDS[job.job_type] ?? job.job_type, server && [" of ", server], names.user && [" for ", safe(names.user, { most: 64 })],
      h("span", { class: "job-code" }, h("code", { text: job.id }),
        h("button", { type: "button", class: "icon-button", "aria-label": "Copy the id", title: "Copy the id", on: { click: () => copy(job.id) } }, icon("copy"))));
  }

  showActions() {
    const { job } = this;
    const run = job.flow_run_url ?? this.runUrl;
    replace(this.actions,
      run && h("a", { class: "button", href: run, target: "_blank", rel: "noreferrer noopener" }, icon("link"), "Run in Prefect"),
      ENDED.has(job.status) && CALLS.has(job.job_type)
        && button([icon("refresh"), "Run again"], () => this.runAgain(), { kind: job.status === "failed" ? "primary" : "plain" }),
      !ENDED.has(job.status) && button("Cancel job", () => this.cancel(), { kind: "danger" }));
  }

  async cancel() {
    const text = this.job.status === "running"
      ? "The server is told to stop. What the tool has done by then stays done."
      : "It has not begun, so nothing happens.";
    if (!(await confirm("Cancel this job?", text, "Cancel job"))) return;
    try {
      await del(this.path, { signal: this.signal });
      toast("Cancelled.");
    } catch (error) {
      if (error.code !== "job-ended") throw error;
      toast("It had ended already.");
    }
    await this.reload();
  }

  async runAgain() {
    const risk = ["outcome-unknown", "upstream-timed-out", "result-not-kept"].includes(this.job.error_code)
      ? "Nobody knows if the tool ran the first time: it may run twice." : "The same call is made anew, with the same arguments, as a job of yours.";
    if (!(await confirm("Run this again?", risk, { label: "Run again", kind: "primary" }))) return;
    const made = await post(`${this.path}:run-again`, undefined, { signal: this.signal });
    go(`/jobs/${made.id}`);
    toast("Runs again as a new job.");
  }

  showPayloads(text, isFirst) {
    if (isFirst) this.payloads.append(argumentsCard(memberText(text, "params") ?? "{}"));
    const { job } = this;
    if (this.hasResult || job.result === null || job.result === undefined) return;
    this.hasResult = true;
    this.payloads.prepend(resultCard(memberText(text, "result") ?? "null", job.result, this.signal));
  }

  showFacts() {
    const { job } = this;
    const waited = job.started_at && Date.parse(job.started_at) - Date.parse(job.created_at);
    const took = job.completed_at && job.started_at ? duration(Date.parse(job.completed_at) - Date.parse(job.started_at)) : job.started_at && elapsed(job.started_at);
    const facts = [
      ["Attempt", `${job.attempt} of ${job.max_attempts}`],
      ["Lane", job.lane === "direct" ? "direct" : "durable"],
      ["Asked", time(job.created_at)], ["Waited", job.started_at ? duration(waited) : elapsed(job.created_at)],
      job.started_at && ["Began", time(job.started_at)], took && [job.completed_at ? "Took" : "Runs for", took],
      job.completed_at && ["Ended", time(job.completed_at)],
      ["Time-out", job.timeout_seconds ? duration(job.timeout_seconds * 1000) : "–"],
      ["Repeats", job.retry === "always" ? "always" : "if that is safe"],
    ];
    replace(this.facts, facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value))));
  }

  async showSteps() {
    const found = await get(`${this.path}/timeline`, undefined, { signal: this.signal });
    replace(this.steps, timeline(found.items));
    if (found.flow_run_url && found.flow_run_url !== this.runUrl) {
      this.runUrl = found.flow_run_url;
      this.showActions();
    }
  }
}
