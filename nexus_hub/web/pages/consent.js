// Consent: a client asks to act for whoever is logged in here, and is let in or not.

import { get, post } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { button, failure, field, loading } from "../core/parts.js";
import { go, goOut, here } from "../core/router.js";
import { logOut } from "../core/session.js";
import { safe } from "../core/text.js";
import { gate, gateCard } from "./gate.js";

/** So long the page has to be in front before it takes a yes: no click that was meant for a window above it. */
const IN_FRONT_MS = 600;
const OVER = new Set([404, 409, 422]);

/** @returns {string} */
export function title() {
  return "A client asks for access";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { query, session, signal }) {
  const place = replace(gate(root), loading());
  const route = `/v1/oauth/requests/${encodeURIComponent(query.get("request") ?? "")}`;
  const load = async () => {
    if (!query.get("request")) return replace(place, over());
    try {
      const asked = await get(route, {}, { signal });
      new Consent(place, route, asked, session, signal).show();
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) throw error;
      replace(place, OVER.has(error.status) ? over() : failed(error, load));
    }
  };
  await load();
}

class Consent {
  constructor(place, route, asked, session, signal) {
    Object.assign(this, { place, route, asked, session, signal, isInFront: false });
    this.wrong = h("div", { class: "gate-wrong" });
    this.boxes = asked.scopes.map(({ scope }) => h("input", { type: "checkbox", value: scope, checked: scope !== "admin", on: { change: () => this.weigh() } }));
    this.allow = button("Allow", () => this.answer(true), { kind: "primary", disabled: true });
    this.deny = button("Deny", () => this.answer(false));
  }

  show() {
    const { asked, session } = this;
    const scopes = asked.scopes.map(({ scope, label }, at) => field(safe(label || scope, { lines: 1, most: 120, button: false }), this.boxes[at]));
    replace(this.place, h("section", { class: "card card-pad gate-card", "aria-labelledby": "gate-title" },
      h("h1", { id: "gate-title", tabindex: "-1", text: title() }),
      h("p", {}, "It wants to act for you, ", h("strong", {}, h("bdi", { text: session.user.name })), session.is_operator && ", the operator", ", in this hub. ",
        this.otherUser()),
      h("dl", { class: "gate-facts" }, factsOf(asked)),
      !asked.client.verified && unverified(asked.client),
      h("fieldset", { class: "gate-scopes" }, h("legend", { text: "It may" }), scopes),
      this.wrong,
      h("div", { class: "gate-actions" }, this.deny, this.allow),
      h("p", { class: "muted small" }, "You can take this back under Account. The question ends ", time(asked.expires_at), ".")));
    this.place.querySelector("h1").focus({ preventScroll: true });
    this.watchFront();
  }

  otherUser() {
    const leave = async () => {
      await logOut();
      go(`/login?next=${encodeURIComponent(here())}`);
    };
    return h("button", { type: "button", class: "link", text: "Not you?", on: { click: leave } });
  }

  /** Take no yes that was meant for a window which was above this one a moment ago. */
  watchFront() {
    let timer = 0;
    const begin = () => {
      this.isInFront = false;
      this.weigh();
      clearTimeout(timer);
      timer = setTimeout(() => {
        this.isInFront = true;
        this.weigh();
      }, IN_FRONT_MS);
    };
    addEventListener("focus", begin, { signal: this.signal });
    document.addEventListener("visibilitychange", begin, { signal: this.signal });
    begin();
  }

  chosen() {
    return this.boxes.filter((one) => one.checked).map((one) => one.value);
  }

  weigh() {
    this.allow.disabled = !this.isInFront || this.chosen().length === 0;
  }

  async answer(approve) {
    replace(this.wrong);
    try {
      const { redirect_to: address } = await post(this.route, { approve, scopes: approve ? this.chosen() : [], user_id: this.session.user.id }, { signal: this.signal });
      goOut(address);
      replace(this.place, goingBack(address, approve));
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) throw error;
      if (OVER.has(error.status)) replace(this.place, over());
      else replace(this.wrong, failure(error));
    }
  }
}

function factsOf({ client, redirect_host: host, resource }) {
  const rows = [
    [client.host ? "Client" : "Calls itself", safe(client.name || client.id, { most: 60, button: false })],
    client.host && ["Published by", safe(client.host, { most: 120 })],
    ["Goes back to", isLoopback(host) ? [safe(host, { most: 120 }), ", a program on this computer"] : safe(host, { most: 120 })],
    resource && ["For", safe(resource, { most: 200 })],
  ];
  return rows.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value)));
}

function isLoopback(host) {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/.test(host ?? "");
}

/** Say what can't be known of a client: who it is, or who gets the answer. */
function unverified({ host }) {
  const words = host
    ? ["The client is that of ", safe(host, { most: 120 }), ", but the answer goes elsewhere. Go on only if you have just begun this yourself, with that client."]
    : "Nobody has checked who it is: the name is its own choice. Go on only if you have just begun this yourself, with that client.";
  return h("p", { class: "gate-notice" }, icon("warning"), h("span", {}, words));
}

function goingBack(address, approve) {
  const words = approve ? "You are on your way back to the client." : "You said no. The client is told so.";
  return gateCard(approve ? "Allowed" : "Denied", h("p", {}, words, " If nothing happens, press the button; then you may close this page."),
    button("Back to the client", () => goOut(address), { kind: "primary" }));
}

function over() {
  return gateCard("This question is over", h("p", { text: "It was answered, or it has ended: it waits for ten minutes. Begin again in your client." }),
    button("Go to the console", () => go("/")));
}

function failed(error, retry) {
  return gateCard("This question can't be shown", failure(error, retry));
}
