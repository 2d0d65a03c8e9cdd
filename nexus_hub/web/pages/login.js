// Log-in: by a token, or by the one-time link that the hub prints.

import { h, replace } from "../core/dom.js";
import { button, failure, field, loading } from "../core/parts.js";
import { go } from "../core/router.js";
import { current, logIn, onLogIn } from "../core/session.js";
import { gate } from "./gate.js";

/** What waits behind the log-in, for who comes from elsewhere. */
const LEADS = {
  "/oauth/consent": "A client wants to act for you. Log in first; then you see which one, and may say no.",
  "/oauth/callback": "Log in here to finish the login at the server.",
};

/** @returns {string} */
export function title() {
  return "Log in";
}

/** @param {HTMLElement} root @param {{query: URLSearchParams, signal: AbortSignal}} context */
export async function render(root, { query, signal }) {
  const next = nextPage(query.get("next"));
  const code = takeCode();
  const place = gate(root, { isTitle: true });
  onLogIn(() => go(next, { replace: true }), signal);
  if (!code) return showForm(place, next);
  replace(place, loading("Logging in"));
  try {
    const before = await current();
    if (signal.aborted) return;
    if (before) return askFirst(place, next, code, before);
    await enterByLink(next, code, signal);
  } catch (error) {
    showForm(place, next, error);
  }
}

async function enterByLink(next, code, signal = null) {
  await logIn({ code });
  if (!signal?.aborted) go(next, { replace: true });
}

/** Ask before a link, which anybody may have made, takes the place of somebody's session. */
function askFirst(place, next, code, { user }) {
  const take = () => enterByLink(next, code).catch((error) => showForm(place, next, error));
  const stay = button(["Stay ", h("bdi", { text: user.name })], () => go(next, { replace: true }), { kind: "primary" });
  replace(place, h("div", { class: "card card-pad gate-card", role: "alert" },
    h("p", {}, "You are logged in as ", h("strong", {}, h("bdi", { text: user.name })), ". This link logs in whoever it was made for, and ends your session. ",
      "Use it only if it is your own."),
    stay,
    button("Log in by the link", take)));
  stay.focus();
}

/** Take the code out of the address at once, so that neither the history nor a picture of the window keeps it. */
function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** Read where to go after the log-in: a page of this console, and nowhere else. */
function nextPage(asked) {
  if (!asked || !URL.canParse(asked, location.origin)) return "/";
  const { origin, pathname, search } = new URL(asked, location.origin);
  return origin === location.origin && pathname !== "/login" ? pathname + search : "/";
}

function showForm(place, next, error = null) {
  const input = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, spellcheck: "false", autocapitalize: "off" });
  const fault = h("div", { class: "gate-wrong" }, error && explain(error));
  const enter = async () => {
    const token = input.value.trim();
    if (!token) return input.focus();
    replace(fault);
    try {
      await logIn({ token });
      input.value = "";
      go(next, { replace: true });
    } catch (refused) {
      replace(fault, explain(refused));
      input.select();
    }
  };
  const submit = button("Log in", enter, { kind: "primary" });
  const form = h("form", { class: "card card-pad gate-card", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    fault,
    field("Token", input, "Your token, or the service key of the hub for an operator."),
    submit);
  replace(place, LEADS[new URL(next, location.origin).pathname] && h("p", { text: LEADS[new URL(next, location.origin).pathname] }), form, ways());
  input.focus();
}

/** The ways in. */
function ways() {
  return h("details", { class: "muted small" }, h("summary", { text: "No token?" }),
    h("ul", {},
      h("li", { text: "An operator of this hub gives you a token, or a link that logs you in once: open it in this browser, and this page goes on by itself." }),
      h("li", {}, "Operators: ", h("code", { text: "nexus-hub console" }), " prints such a link for yourself, ", h("code", { text: "nexus-hub user link NAME" }),
        " for a user; ", h("code", { text: "nexus-hub user token NAME" }), " makes a token.")));
}

function explain(error) {
  if (error.status === 401) {
    return failure(new Error("This token or link is not known, or it was used up. Links work once, and only for a time: ask an operator for another; operators make theirs with nexus-hub console."));
  }
  return failure(error);
}
