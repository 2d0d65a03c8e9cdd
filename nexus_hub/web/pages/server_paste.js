// Adding servers by pasting an MCP client's file: a preview first, then the import, entry by entry.

import { post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { revealing } from "../core/form_scalars.js";
import { badge, button, failure, field } from "../core/parts.js";
import { safe } from "../core/text.js";

const EXAMPLE = '{\n  "mcpServers": {\n    "everything": {\n      "command": "npx",\n      "args": ["-y", "@modelcontextprotocol/server-everything"]\n    }\n  }\n}';
const OUTCOMES = { registered: ["ok", "added"], "would-register": ["ok", "would be added"], refused: ["down", "refused"] };
/** Refusals that are none for whoever pasted the file. */
const KNOWN = { "already-registered": ["none", "already here"], disabled: ["none", "switched off in the file"] };
const NOT_SET = /environment variable ([A-Za-z_]\w*) is not set/;
const REFERENCE = /\$\{(?:env:)?([A-Za-z_]\w*)\}|\{env:([A-Za-z_]\w*)\}/g;

/**
 * Make the panel.
 * @param {{signal: AbortSignal, close: () => void, done: () => void}} context `done` is called after an import
 * @returns {HTMLElement}
 */
export function pastePanel(context) {
  return new PastePanel(context).element;
}

class PastePanel {
  constructor({ signal, close, done }) {
    this.signal = signal;
    this.done = done;
    this.text = h("textarea", { rows: "10", class: "mono", autocomplete: "off", spellcheck: "false", placeholder: EXAMPLE, on: { input: () => replace(this.said) } });
    this.file = h("input", { type: "file", accept: ".json,.jsonc,.toml,application/json", on: { change: () => this.readFile() } });
    this.said = h("div", { class: "said" });
    /** Values of variables that the text refers to. @type {Map<string, HTMLInputElement>} */
    this.values = new Map();
    this.element = h("section", { class: "card card-pad form-grid", "aria-labelledby": "paste-title" },
      h("h2", { id: "paste-title", text: "Add servers from an mcp.json" }),
      field("Text of the file", this.text, "As Claude, Cursor, VS Code, Zed, Windsurf, Gemini or Codex have it. Values in it are sealed in the vault and never shown again."),
      field("Or a file", this.file),
      h("div", { class: "form-actions" }, button("Preview", () => this.attempt(() => this.preview()), { kind: "primary" }), button("Close", close)),
      this.said);
  }

  async readFile() {
    const [file] = this.file.files ?? [];
    if (file) this.text.value = await file.text();
    replace(this.said);
  }

  async attempt(act) {
    replace(this.said);
    try {
      await act();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      replace(this.said, failure(error));
    }
  }

  async ask(dryRun) {
    const { items } = await post("/v1/servers:import", { mcp_json: this.fillIn(), dry_run: dryRun }, { signal: this.signal });
    return items;
  }

  /** Put the values into the text, in the place of what refers to them. */
  fillIn() {
    return this.text.value.replace(REFERENCE, (whole, name, other) => {
      const value = this.values.get(name ?? other)?.value;
      return value ? JSON.stringify(value).slice(1, -1) : whole;
    });
  }

  /** Ask for the values of the variables that are missing: those of the hub's own process are nobody else's. */
  askForValues(items) {
    const missing = items.map((one) => NOT_SET.exec(one.error ?? "")?.[1]).filter(Boolean);
    if (!missing.length) return null;
    const named = [...this.text.value.matchAll(REFERENCE)].map((one) => one[1] ?? one[2]);
    for (const name of new Set([...missing, ...named])) {
      if (!this.values.has(name)) this.values.set(name, h("input", { type: "password", autocomplete: "off", spellcheck: "false" }));
    }
    const fields = [...this.values].map(([name, input]) => valueField(name, input));
    return h("div", { class: "missing" }, h("p", { class: "tone-warn", text: `Missing: ${[...new Set(missing)].join(", ")}. Give the values here, or put them into the text, and preview again.` }), fields);
  }

  async preview() {
    const items = await this.ask(true);
    const count = items.filter((one) => one.outcome === "would-register").length;
    const bring = button(`Add ${count} server${count === 1 ? "" : "s"}`, () => this.attempt(() => this.bring()), { kind: "primary", disabled: count === 0 });
    replace(this.said, results("What would happen", items), this.askForValues(items),
      h("p", { class: "hint", text: "Nothing has been tried or stored yet." }), h("div", { class: "form-actions" }, bring));
  }

  async bring() {
    const items = await this.ask(false);
    this.text.value = "";
    this.values.clear();
    this.file.value = "";
    replace(this.said, results("What happened", items));
    this.done();
  }
}

/** Show what becomes of each entry. */
function results(title, items) {
  if (!items.length) return h("p", { role: "status", text: "The text names no servers." });
  return h("div", { role: "status" }, h("h3", { text: title }), h("ul", { class: "outcomes" }, items.map(outcome)));
}

function outcome(one) {
  const [state, word] = KNOWN[one.code] ?? OUTCOMES[one.outcome] ?? ["none", one.outcome];
  const other = one.entry && one.entry !== one.name ? h("span", { class: "muted" }, "for ", safe(one.entry, { lines: 1, most: 80 })) : null;
  return h("li", {}, h("strong", {}, safe(one.name, { lines: 1, most: 80 })), " ", badge(state, word), " ", other,
    one.error && !KNOWN[one.code] && h("p", { class: "muted" }, safe(one.error, { lines: 3, most: 400 })));
}

function valueField(name, input) {
  const made = field(h("code", { text: name }), input);
  made.append(revealing(input));
  return made;
}
