// The tokens of one user: which there are, a new one, and the end of one.

import { del, get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { badge, button, confirm, empty, failure, field, loading, table, toast } from "../core/parts.js";
import { safe } from "../core/text.js";
import { handover } from "./handover.js";
import { SCOPES, scopesCell } from "./scopes.js";

/** Days that a new token may hold; none: until it is revoked. */
const DAYS = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "no end"]];
const FOR_USERS = ["tools:list", "tools:call", "jobs"];

/**
 * Make the panel.
 * @param {string} route of the user's tokens @param {{name: string, signal: AbortSignal}} context
 * @returns {HTMLElement}
 */
export function tokenList(route, context) {
  const made = new TokenList(route, context);
  made.load();
  return made.element;
}

class TokenList {
  constructor(route, { name, signal }) {
    Object.assign(this, { route, name, signal });
    this.given = h("div", { class: "given", "aria-live": "polite" });
    this.place = h("div", {}, loading());
    this.list = table({
      columns: columns((token) => this.revoke(token)), key: (token) => token.id, label: "Tokens", tone: (token) => (isOver(token) ? "over" : null),
      empty: empty("There is no token", "A token is a way in for a client or a script. Make one for each, so that one alone can be revoked."),
    });
    this.element = h("div", { class: "token-panel" }, newTokenForm((asked) => this.make(asked)), this.given, this.place);
  }

  async load() {
    try {
      const { items } = await get(this.route, {}, { signal: this.signal });
      this.list.update([...items].sort((one, other) => Number(isOver(one)) - Number(isOver(other))));
      replace(this.place, this.list.element);
    } catch (error) {
      if (!this.signal.aborted) replace(this.place, failure(error, () => this.load()));
    }
  }

  async make(asked) {
    const { token } = await post(this.route, asked);
    replace(this.given, handover(this.name, token, () => replace(this.given)));
    this.given.querySelector("h2").focus();
    await this.load();
  }

  async revoke(token) {
    const text = "It stops working at once, and so do the log-ins that were made with it. Jobs that run go on. This can’t be undone.";
    if (!(await confirm(`Revoke the token ${token.name || "without a name"}?`, text, "Revoke"))) return;
    await del(`${this.route}/${encodeURIComponent(token.id)}`);
    toast("The token is revoked.");
    await this.load();
  }
}

function isOver(token) {
  return Boolean(token.revoked_at) || (token.expires_at && Date.parse(token.expires_at) <= Date.now());
}

const columns = (revoke) => [
  { title: "Name", cell: (token) => (token.name ? safe(token.name, { lines: 1, most: 64 }) : h("span", { class: "muted", text: "no name" })) },
  { title: "May", cell: (token) => scopesCell(token.scopes) },
  { title: "Last used", cell: (token) => (token.last_used_at ? time(token.last_used_at) : h("span", { class: "muted", text: "never" })) },
  { title: "Ends", cell: endsCell },
  { title: "Made", cell: (token) => time(token.created_at) },
  {
    title: "Actions", class: "actions", cell: (token) => (isOver(token) ? null
      : button("Revoke", () => revoke(token), { kind: "danger", "aria-label": `Revoke the token ${token.name || "without a name"}` })),
  },
];

function endsCell(token) {
  if (token.revoked_at) return [badge("none", "revoked"), " ", time(token.revoked_at)];
  if (!token.expires_at) return "when revoked";
  return isOver(token) ? [badge("none", "ended"), " ", time(token.expires_at)] : time(token.expires_at);
}

function newTokenForm(make) {
  const name = h("input", { type: "text", maxlength: 64, autocomplete: "off", spellcheck: "false", placeholder: "laptop" });
  const days = h("select", {}, DAYS.map(([value, text]) => h("option", { value, text })));
  days.value = "90";
  const boxes = FOR_USERS.map((scope) => h("input", { type: "checkbox", value: scope, checked: true }));
  const wrong = h("div", {});
  const send = async () => {
    const scopes = boxes.filter((one) => one.checked).map((one) => one.value);
    replace(wrong);
    if (!scopes.length) return replace(wrong, failure(new Error("Choose what it may do, at least one thing.")));
    try {
      await make({
        ...(name.value.trim() && { name: name.value.trim() }), ...(days.value && { expires_in_days: Number(days.value) }),
        ...(scopes.length < boxes.length && { scopes }),
      });
      name.value = "";
    } catch (error) {
      replace(wrong, failure(error));
    }
  };
  const submit = button("Make a token", send, { kind: "primary" });
  return h("form", { class: "token-form", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    field("Name", name, "What it is for, so that you know it again."),
    field("Good for", days),
    h("fieldset", { class: "choices" }, h("legend", { text: "It may" }), FOR_USERS.map((scope, at) => field(SCOPES[scope], boxes[at]))),
    submit, wrong);
}
