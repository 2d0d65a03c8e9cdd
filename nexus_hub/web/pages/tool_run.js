// The form that runs a tool, with its arguments as JSON beside it, and the job that it makes.

import { post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { form } from "../core/form.js";
import { JsonFault, isObject, lineOf, parse, write } from "../core/json_text.js";
import { button, failure, field } from "../core/parts.js";
import { safe } from "../core/text.js";
import { jobView } from "./tool_job.js";

const PAUSE_MS = 200;
const TIMEOUTS = [["", "as the hub does by itself"], ["30", "30 seconds"], ["60", "1 minute"], ["300", "5 minutes"], ["900", "15 minutes"], ["3600", "1 hour"], ["14400", "4 hours"]];
const MOST_LISTED = 20;

/** The last arguments of each tool, for as long as this tab shows the console: they may be secret. @type {Map<string, any>} */
const last = new Map();

/**
 * Make the panel.
 * @param {any} tool @param {string} text the tool's row as it was sent @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function runPanel(tool, text, signal) {
  return new RunPanel(tool, text, signal).element;
}

class RunPanel {
  constructor(tool, text, signal) {
    this.tool = tool;
    this.text = text;
    this.signal = signal;
    this.form = form(schemaOf(text), { onChange: () => this.showJson() });
    this.json = h("textarea", { rows: "8", class: "mono", autocomplete: "off", spellcheck: "false" });
    this.jsonFault = h("p", { class: "field-error", role: "status" });
    this.seconds = h("select", {}, TIMEOUTS.map(([value, words]) => h("option", { value, text: words })));
    this.said = h("div", { class: "said", "aria-live": "polite" });
    this.outcome = h("div", { class: "outcome" });
    this.submit = button("Run", () => this.run(), { kind: "primary" });
    this.isJson = true;
    this.timer = 0;
    this.running = new AbortController();
    this.element = this.frame();
    this.json.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.readJson(), PAUSE_MS);
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit.click();
    });
    if (last.has(tool.name)) this.form.write(last.get(tool.name));
    this.showJson();
  }

  frame() {
    const onSubmit = (event) => {
      event.preventDefault();
      this.submit.click();
    };
    return h("section", { class: "tool-run card card-pad", "aria-labelledby": "run-title" },
      h("h2", { id: "run-title", text: "Run" }),
      h("div", { class: "run-columns" },
        h("form", { class: "run-form", novalidate: "", autocomplete: "off", on: { submit: onSubmit } }, this.form.element),
        h("div", { class: "run-json" }, field("The same as JSON", this.json), this.jsonFault)),
      this.said,
      h("div", { class: "form-actions run-actions" }, this.submit, button("Start over", () => this.startOver()),
        h("div", { class: "run-timeout" }, field("Time-out", this.seconds))),
      this.outcome);
  }

  showJson() {
    this.json.value = write(this.form.read() ?? {});
    this.isJson = true;
    replace(this.jsonFault);
  }

  readJson() {
    clearTimeout(this.timer);
    this.timer = 0;
    try {
      const value = parse(this.json.value);
      if (!isObject(value)) throw new JsonFault("the arguments are an object in braces.", this.json.value, 0);
      this.form.clear();
      this.form.write(value);
      replace(this.jsonFault);
      this.isJson = true;
    } catch (error) {
      if (!(error instanceof JsonFault)) throw error;
      this.isJson = false;
      replace(this.jsonFault, error.message);
    }
  }

  async run() {
    if (this.timer || !this.isJson) this.readJson();
    if (!this.isJson) return this.json.focus();
    const faults = await this.form.check();
    if (!faults.length) return this.send();
    this.listFaults("This does not fit the tool's schema yet", faults, button("Send it as it is", () => this.send()));
    faults[0].slot.focus();
  }

  async send() {
    const given = this.form.read() ?? {};
    last.set(this.tool.name, given);
    replace(this.said);
    this.form.clear();
    const body = { job_type: "tool_invoke", name: this.tool.name, arguments: given };
    if (this.seconds.value) body.timeout_seconds = Number(this.seconds.value);
    try {
      this.follow(await post("/v1/jobs", body, { signal: this.signal }));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.showRefusal(error);
    }
  }

  follow(job) {
    this.running.abort();
    this.running = new AbortController();
    replace(this.outcome, jobView(job, AbortSignal.any([this.signal, this.running.signal])));
  }

  showRefusal(error) {
    const problems = error.code === "invalid-arguments" && error.problem?.problems;
    if (problems) this.listFaults("The hub refuses the arguments", this.form.explain(problems), null);
    else replace(this.said, failure(error));
  }

  listFaults(title, faults, anyway) {
    replace(this.said, faultList(title, faults, this.json.value, anyway));
  }

  startOver() {
    last.delete(this.tool.name);
    this.running.abort();
    const fresh = runPanel(this.tool, this.text, this.signal);
    this.element.replaceWith(fresh);
    fresh.querySelector("input, select, textarea, button")?.focus();
  }
}

/** Read the input schema without loss; one that this reader refuses as the browser reads it. */
function schemaOf(text) {
  try {
    return parse(text).definition?.inputSchema ?? {};
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    return JSON.parse(text).definition?.inputSchema ?? {};
  }
}

/** List faults with the line of the JSON on which each stands; a click goes to its field. */
function faultList(title, faults, text, anyway) {
  const items = faults.slice(0, MOST_LISTED).map(({ slot, path, message }) => {
    const name = path.length ? path.join(".") : "the arguments";
    const go = h("button", { type: "button", class: "link", on: { click: () => slot.focus() } }, safe(name, { lines: 1, most: 120, button: false }));
    return h("li", {}, go, " ", safe(message, { lines: 2, most: 300 }), h("span", { class: "muted", text: ` (line ${lineOf(text, path)} of the JSON)` }));
  });
  const left = faults.length - items.length;
  return h("div", { class: "failure run-faults", role: "alert" },
    h("div", {}, h("p", { class: "failure-title", text: title }), h("ul", {}, items), left > 0 && h("p", { text: `and ${left} more` })), anyway);
}
