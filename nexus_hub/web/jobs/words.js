// Words for jobs: their names, states and reasons, as people say them.

import { h } from "../core/dom.js";
import { safe } from "../core/text.js";

/** The states in the order of a job's life, with the words of the page. */
export const STATES = [
  ["pending", "waiting"], ["running", "running"], ["completed", "completed"], ["failed", "failed"], ["cancelled", "cancelled"],
];
export const ENDED = new Set(["completed", "failed", "cancelled"]);
/** Kinds of jobs that somebody asked for. */
export const CALLS = new Set(["tool_invoke", "resource_fetch", "prompt_execute"]);
export const KINDS = {
  tool_invoke: "Tool", resource_fetch: "Resource", prompt_execute: "Prompt",
  cache_refresh: "Catalog refresh", key_rotation: "Key rotation", job_cleanup: "Clean-up of jobs",
};

/** Give a state's word. @param {string} status */
export function stateWord(status) {
  return STATES.find(([one]) => one === status)?.[1] ?? status;
}

/** Show what a job calls. @param {any} job @returns {HTMLElement} */
export function jobName(job) {
  if (job.tool_name) return safe(job.tool_name, { lines: 1, most: 80, button: false });
  return h("span", { text: KINDS[job.job_type] ?? job.job_type });
}

/** The first line of a text. @param {string | null} text */
export function firstLine(text) {
  return (text ?? "").split(/\r?\n/, 1)[0];
}

const OWN_FAULT = "Look at its message, change the arguments, and run it again.";

/** Each reason in plain words, and what to do next. @type {Record<string, [string, string]>} */
const REASONS = {
  "upstream-unavailable": ["The server could not be reached, so the tool did not run.", "See if the server is up, test it on its page, and run the job again: nothing has happened yet."],
  "circuit-open": ["The server gives no sign of life, so the hub calls it only now and then.", "The job goes on by itself once the server answers; its page says when it is tried next."],
  "upstream-rejected": ["The server refused the call.", OWN_FAULT],
  "upstream-timed-out": ["No answer came in time. The tool may have run all the same.", "See at the server if it had its effect before you run it again; a longer time-out may help."],
  "outcome-unknown": ["The connection was lost during the call, so nobody knows if the tool ran.", "See at the server if it had its effect. Run it again only if that does no harm."],
  "malformed-result": ["The server's answer breaks the protocol, so it can't be read. The tool may have run.", "Tell whoever keeps the server; what came is below, where it could be kept."],
  "too-large": ["The result is larger than this hub keeps.", "Ask the tool for less, or let an operator raise NEXUS_MAX_RESULT_BYTES."],
  "result-not-storable": ["The database refuses the result, such as one that is nested too deep.", "The tool has run. Ask it for a plainer result."],
  "result-not-kept": ["The tool has run, but its result could not be kept.", "See at the server if it had its effect before you run it again."],
  "not-found": ["The server or the tool is not there any more.", "Look at Servers: register it again, or sync its tools."],
  "not-allowed": ["Whoever asked may not call this tool now.", "An operator can grant it, see Access; then run it again."],
  "approval-needed": ["Nobody has said yes to this very call.", "Run it again: a person is asked then."],
  "approval-denied": ["A person was asked, and has said no.", "The reason is on the page of the approval; ask that person before you run it again."],
  "approval-expired": ["Nobody said yes in time.", "Run it again: a person is asked anew."],
  "cannot-open": ["The server's configuration can't be opened with the keys that the hub has.", "Add the key that sealed it, or register the server anew."],
  "lease-expired": ["The worker that ran it was lost, and no attempt was left.", "See on Health if workers are up, and run it again."],
  "invalid-arguments": ["The arguments do not fit what the tool asks for.", OWN_FAULT],
  "rate-limited": ["The server's limit of calls per minute was used up.", "It goes on by itself; a higher limit is set on the server's page."],
  "orphaned": ["Nobody had worked on it for so long that the clean-up ended it.", "See on Health if workers are up, and run it again."],
  "prefect-refused": ["Prefect refuses the job's flow run.", "Look at the flow run in Prefect, and at nexus-hub doctor."],
  "prefect-unavailable": ["Prefect did not answer.", "It goes on by itself once Prefect is back."],
  "database-unavailable": ["The database was away before the call was sent.", "Run it again: nothing has happened yet."],
  "internal-error": ["Something went wrong in the hub itself.", "Look at its logs by the job's id, and run it again."],
};

/** Say why a job failed or waits, and what to do next. @param {string | null} code @returns {{plain: string, next: string}} */
export function reason(code) {
  const [plain, next] = REASONS[code ?? ""] ?? ["The job failed.", "Its message is below; what to do depends on it."];
  return { plain, next };
}
