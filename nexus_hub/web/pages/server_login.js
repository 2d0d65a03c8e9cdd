// The login at a server: whether the hub has one, whose it is, and the ways to give, change and take it.

import { del, post, put } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { revealing } from "../core/form_scalars.js";
import { time } from "../core/format.js";
import { badge, button, confirm, failure, field, toast } from "../core/parts.js";
import { goOut } from "../core/router.js";
import { safe } from "../core/text.js";
import { routeOf } from "./server_words.js";

const STATES = { ready: ["ok", "logged in"], needed: ["warn", "needs a new login"], none: ["warn", "needs login"] };
const HTTP = new Set(["http:", "https:"]);

/** Show the state of a login. @param {{state: string}} login */
export function loginBadge(login) {
  const [state, word] = STATES[login.state] ?? ["none", login.state];
  return badge(state, word);
}

/** Tell if somebody may give and take the login at a server. @param {any} server @param {any} session */
export function mayLogIn(server, session) {
  return session.is_operator || server.server_type === "user" || server.login?.credentials === "per-user";
}

/**
 * The part of a server's page that is about its login.
 */
export class LoginPart {
  /** @param {{session: any, load: () => Promise<void>, isAsked: boolean}} context `isAsked`: one came here to log in */
  constructor({ session, load, isAsked }) {
    Object.assign(this, { session, load, isAsked });
    this.wrong = h("div", { class: "said", "aria-live": "polite" });
    this.element = h("div", { class: "server-login" });
  }

  /** Show the login of a server as it is now. @param {any} server */
  show(server) {
    this.server = server;
    const login = server.login;
    const text = JSON.stringify(login);
    if (text === this.shown) return; // what is being typed stays
    this.shown = text;
    this.element.hidden = !login;
    if (!login) return replace(this.element);
    const card = h("section", { class: ["card", "card-pad", this.isAsked && "asked"], "aria-labelledby": "login-title" },
      h("h2", { id: "login-title", tabindex: "-1" }, "Login"),
      h("p", {}, loginBadge(login), " ", h("span", { class: "muted" }, this.words(login))),
      login.reason && login.state !== "ready" && h("p", {}, safe(login.reason, { lines: 3, most: 300 })),
      this.isAsked && login.state === "ready" && h("p", { text: "There is nothing left to do here: go back to where you came from." }),
      mayLogIn(server, this.session) ? this.ways(login) : null, this.wrong);
    replace(this.element, card);
  }

  /** Lead who came here to log in to where it begins. */
  greet() {
    const begins = ["input", ".button-primary", "h2"].map((one) => this.element.querySelector(one)).find(Boolean);
    if (this.isAsked) begins?.focus();
  }

  words(login) {
    const whose = login.credentials === "per-user"
      ? "Each user logs in here by oneself; this is your own login, which nobody else’s calls use."
      : mayLogIn(this.server, this.session) ? "One login for all who call this server." : "One login for all; an operator takes care of it.";
    return [whose, login.state === "ready" && login.expires_at && [" It is renewed by itself; what it has now ends ", time(login.expires_at), "."]];
  }

  ways(login) {
    const has = login.state !== "none";
    const remove = has && button(login.kind === "header" ? "Remove" : "Disconnect", () => this.remove(), { kind: "danger" });
    if (login.kind === "header") return this.valueForm(has, remove);
    const go = button(has ? "Log in again" : "Connect", () => this.attempt(() => this.connect()), { kind: login.state === "ready" ? "plain" : "primary" });
    return h("div", { class: "form-actions" }, go, remove);
  }

  valueForm(has, remove) {
    const value = h("input", { type: "password", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true });
    const save = button(has ? "Replace" : "Save", () => value.reportValidity() && this.attempt(() => this.setValue(value)), { kind: "primary" });
    return h("form", { class: "form-grid", autocomplete: "off", on: { submit: (event) => (event.preventDefault(), save.click()) } },
      credentialField(value), h("div", { class: "form-actions" }, save, remove));
  }

  async attempt(act) {
    replace(this.wrong);
    try {
      await act();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      replace(this.wrong, failure(error));
    }
  }

  /** Begin a login at the server's authorization server; one of a machine is done at once. */
  async connect() {
    const begun = await post(`${routeOf(this.server)}/login`, {});
    if (!begun.authorization_url) {
      toast("Logged in.");
      return this.load();
    }
    if (!URL.canParse(begun.authorization_url) || !HTTP.has(new URL(begun.authorization_url).protocol)) {
      throw new Error("The server names a login page that is none of the web.");
    }
    goOut(begun.authorization_url);
  }

  async setValue(input) {
    await put(`${routeOf(this.server)}/credential`, { value: input.value });
    input.value = "";
    toast("Saved.");
    await this.load();
  }

  async remove() {
    const { name, login } = this.server;
    const whose = login.credentials === "per-user" ? "your calls of" : "all calls of";
    if (!(await confirm(`Remove the login at ${name.slice(0, 60)}?`, `The hub forgets it, and ${whose} this server are refused until there is a new one. Its tools stay listed.`, "Remove"))) return;
    await del(`${routeOf(this.server)}/${login.kind === "header" ? "credential" : "login"}`);
    toast("The login is removed.");
    await this.load();
  }
}

function credentialField(input) {
  const made = field("Your key or token", input, "Sealed in the vault, never shown again, and sent to this server alone.");
  made.querySelector("label").after(revealing(input));
  return made;
}
