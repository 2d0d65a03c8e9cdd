// The form that grants a group something.

import { get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { button, failure, field, toast } from "../core/parts.js";
import { readAll } from "./lists.js";
import { LEVELS } from "./access_words.js";

const KINDS = { server: "a whole server", tool: "a tool", bundle: "a bundle" };

/**
 * Make the form.
 * @param {string} route where grants are added @param {any[]} groups who may say yes to calls
 * @param {() => void} done @param {AbortSignal} signal @returns {HTMLElement}
 */
export function grantForm(route, groups, done, signal) {
  return new GrantForm(route, groups, done, signal).element;
}

class GrantForm {
  constructor(route, groups, done, signal) {
    Object.assign(this, { route, done, signal });
    this.kind = select(Object.entries(KINDS));
    this.server = select([["", "Choose a server"]]);
    this.tool = select([["", "Choose a tool"]]);
    this.bundle = select([["", "Choose a bundle"]]);
    this.level = select(Object.entries(LEVELS));
    this.level.value = "call";
    this.approvers = select([["", "operators alone"], ...groups.filter((one) => !one.is_everyone).map((one) => [one.name, `operators and the group ${one.name}`])]);
    this.self = h("input", { type: "checkbox" });
    this.wrong = h("div", {});
    this.fields = {
      server: field("Server", this.server), tool: field("Tool", this.tool), bundle: field("Bundle", this.bundle),
      approvers: field("Yes is said by", this.approvers), self: field("whoever asks may say it, too", this.self, "In the chat or in this console, and not by a token."),
    };
    const submit = button("Grant", () => this.send(), { kind: "primary" });
    this.element = h("form", { class: "card card-pad form-grid", "aria-label": "New grant", on: { submit: (event) => (event.preventDefault(), submit.click()), change: () => this.show() } },
      h("div", { class: "form-columns" }, field("Grant", this.kind), this.fields.server, this.fields.tool, this.fields.bundle,
        field("Members may", this.level), this.fields.approvers, this.fields.self),
      this.wrong, h("div", { class: "form-actions" }, submit));
    this.server.addEventListener("change", () => this.loadTools().catch((error) => this.fail(error)));
    this.show();
    this.load().catch((error) => this.fail(error));
  }

  fail(error) {
    if (!this.signal.aborted) replace(this.wrong, failure(error));
  }

  show() {
    const kind = this.kind.value;
    this.fields.server.hidden = kind === "bundle";
    this.fields.tool.hidden = kind !== "tool";
    this.fields.bundle.hidden = kind !== "bundle";
    this.server.required = kind !== "bundle";
    this.tool.required = kind === "tool";
    this.bundle.required = kind === "bundle";
    this.fields.approvers.hidden = this.fields.self.hidden = this.level.value !== "approve";
  }

  async load() {
    const [servers, bundles] = await Promise.all([readAll("/v1/servers", {}, this.signal), get("/v1/bundles", {}, { signal: this.signal })]);
    fill(this.server, servers.filter((one) => one.server_type === "system").map((one) => one.name));
    fill(this.bundle, bundles.items.map((one) => one.name));
  }

  async loadTools() {
    const server = this.server.value;
    fill(this.tool, []);
    if (!server) return;
    const tools = await readAll("/v1/tools", { server }, this.signal);
    if (server === this.server.value) fill(this.tool, tools.map((one) => one.tool_name));
  }

  async send() {
    replace(this.wrong);
    if (![this.server, this.tool, this.bundle].every((one) => one.reportValidity())) return;
    const kind = this.kind.value;
    const target = kind === "bundle" ? { bundle: this.bundle.value } : { server: this.server.value, ...(kind === "tool" && { tool: this.tool.value }) };
    const approval = this.level.value === "approve" ? { ...(this.approvers.value && { approvers: this.approvers.value }), self_approval: this.self.checked } : {};
    try {
      await post(this.route, { level: this.level.value, ...target, ...approval });
      toast("Granted.");
      this.done();
    } catch (error) {
      this.fail(error);
    }
  }
}

function select(options) {
  return h("select", {}, options.map(([value, text]) => h("option", { value, text })));
}

/** Put names behind the first option, which stands for none. */
function fill(made, names) {
  replace(made, made.options[0], names.map((name) => h("option", { value: name, text: name.slice(0, 100) })));
  made.value = "";
}
