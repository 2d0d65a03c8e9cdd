// Adding a server by a form.

import { get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { revealing } from "../core/form_scalars.js";
import { button, failure, field, toast } from "../core/parts.js";
import { go } from "../core/router.js";
import { loginFields } from "./server_add_login.js";
import { DURABLE, needsLogin, pageOf } from "./server_words.js";

const QUIET = { autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
const NAME_RULE = "Letters, digits, - and single _. Its tools will be called name__tool.";

/**
 * Make the form.
 * @param {{session: any, signal: AbortSignal, close: () => void}} context
 * @returns {HTMLElement}
 */
export function addForm(context) {
  return new AddForm(context).element;
}

class AddForm {
  constructor({ session, signal, close }) {
    this.signal = signal;
    this.inputs = makeInputs();
    this.headers = secretRows("header", "Authorization");
    this.env = secretRows("variable", "API_KEY");
    this.said = h("div", { class: "said" });
    this.submit = button("Add server", () => this.send(false), { kind: "primary" });
    const { inputs } = this;
    this.login = loginFields(session);
    this.remote = h("div", { class: "form-grid" }, field("URL", inputs.url, "Of its streamable HTTP endpoint."), this.login.element, this.headers.element);
    this.local = h("div", { class: "form-grid", hidden: true },
      field("Command", inputs.command, "A program on the hub's machine; it is started there and spoken to over stdio."),
      field("Arguments", inputs.args, "One a line, as they are: no shell reads them."), this.env.element);
    if (session.is_operator) listOwners(inputs.owner, signal);
    this.element = h("form", { class: "card card-pad form-grid", autocomplete: "off", "aria-labelledby": "add-title", on: { submit: (event) => (event.preventDefault(), this.submit.click()) } },
      h("h2", { id: "add-title", text: "Add a server" }),
      field("Name", inputs.name, NAME_RULE),
      h("fieldset", { class: "choices" }, h("legend", { text: "Where it is" }), this.kind("http", "At a URL"), this.kind("stdio", "By a command")),
      this.remote, this.local,
      session.is_operator && field("Owner", inputs.owner, "A user who alone sees it; left empty, it is for everybody."),
      h("div", { class: "form-columns" },
        field("Calls a minute, all together", inputs.limit_per_minute, "Left empty: no limit."),
        field("Calls a minute, each user", inputs.user_limit_per_minute, "Left empty: no limit."),
        field("Calls of its tools", inputs.durable, "A job survives restarts and can be watched.")),
      this.said,
      h("div", { class: "form-actions" }, this.submit, button("Check only", () => this.send(true)), button("Cancel", close)));
  }

  kind(value, label) {
    const radio = h("input", { type: "radio", name: "server-kind", value, checked: value === "http" });
    radio.addEventListener("change", () => {
      this.remote.hidden = value !== "http";
      this.local.hidden = value !== "stdio";
    });
    return h("label", { class: "choice" }, radio, label);
  }

  read() {
    const { inputs } = this;
    const place = this.local.hidden
      ? { url: inputs.url.value.trim(), headers: this.headers.read(), ...this.login.read() }
      : { command: inputs.command.value.trim(), args: linesOf(inputs.args.value), env: this.env.read() };
    const given = { name: inputs.name.value.trim(), ...place };
    for (const key of ["limit_per_minute", "user_limit_per_minute"]) if (inputs[key].value) given[key] = Number(inputs[key].value);
    for (const key of ["owner", "durable"]) if (inputs[key].value) given[key] = inputs[key].value;
    return given;
  }

  async send(dryRun) {
    replace(this.said);
    Object.values(this.inputs).forEach((input) => input.removeAttribute("aria-invalid"));
    try {
      const server = await post("/v1/servers", dryRun ? { ...this.read(), dry_run: true } : this.read(), { signal: this.signal });
      if (dryRun) return replace(this.said, h("p", { class: "tone-good", role: "status", text: "Nothing speaks against it. It has not been tried yet." }));
      const isWaiting = needsLogin(server);
      toast(isWaiting ? `${server.name} is added; it wants a login.` : `${server.name} is added: it offers ${server.tools} tools.`);
      go(pageOf(server) + (isWaiting ? "?connect=1" : ""));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      showRefusal(error, this.inputs, this.said);
    }
  }
}

function makeInputs() {
  const text = (props = {}) => h("input", { type: "text", ...QUIET, ...props });
  const count = () => text({ type: "number", min: "1", max: "1000000" });
  const words = Object.entries(DURABLE).map(([value, said]) => h("option", { value, text: said }));
  return {
    name: text({ required: true, maxLength: 32, name: "server-name" }),
    url: text({ type: "url", placeholder: "https://mcp.example.org/mcp" }),
    command: text({ placeholder: "npx" }),
    args: h("textarea", { rows: "3", ...QUIET, class: "mono", placeholder: "-y\n@modelcontextprotocol/server-everything" }),
    owner: text({ list: "server-owners" }),
    limit_per_minute: count(),
    user_limit_per_minute: count(),
    durable: h("select", {}, h("option", { value: "", text: "as the hub does by itself" }), words),
  };
}

function linesOf(text) {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

/** Rows of names with secret values. */
function secretRows(word, example) {
  const list = h("div", { class: "secret-list" });
  const rows = new Map();
  const add = () => {
    const name = h("input", { type: "text", ...QUIET, placeholder: example, "aria-label": `Name of the ${word}` });
    const value = h("input", { type: "password", ...QUIET, "aria-label": `Value of the ${word}` });
    const element = h("div", { class: "secret-row" }, name, revealing(value));
    element.append(button("Remove", () => {
      rows.delete(name);
      element.remove();
      offer.focus();
    }, { "aria-label": `Remove this ${word}` }));
    rows.set(name, value);
    list.append(element);
    name.focus();
  };
  const offer = button(`Add a ${word}`, add);
  const title = word === "header" ? "Headers" : "Variables of its environment";
  const hint = h("p", { class: "hint", text: "Values are sealed in the vault and never shown again." });
  const read = () => {
    const named = [...rows].map(([name, value]) => [name.value.trim(), value.value]).filter(([name]) => name !== "");
    return named.length ? Object.fromEntries(named) : undefined;
  };
  return { element: h("fieldset", { class: "secrets" }, h("legend", { text: title }), list, offer, hint), read };
}

async function listOwners(input, signal) {
  const users = await get("/v1/users", {}, { signal }).catch(() => ({ items: [] }));
  input.after(h("datalist", { id: "server-owners" }, users.items.map((user) => h("option", { value: user.name }))));
}

/** Show a refusal, and mark the fields that it names. */
function showRefusal(error, inputs, said) {
  replace(said, failure(error));
  const wrong = (error.problem?.problems ?? []).map((line) => /^body\.(\w+)/.exec(line)?.[1]);
  if (error.code === "invalid-name" || error.code === "name-taken") wrong.push("name");
  const marked = wrong.map((name) => inputs[name]).filter(Boolean);
  marked.forEach((input) => input.setAttribute("aria-invalid", "true"));
  marked[0]?.focus();
}
