// Parts that all pages are made of.

import { frag, h, icon } from "./dom.js";
import { number } from "./format.js";

export { table } from "./table.js";
export { sparkline } from "./sparkline.js";

/** The look of each state: a tone, and an icon, so that no state is told by colour alone. */
const STATES = {
  pending: ["wait", "clock"], waiting: ["wait", "clock"], later: ["wait", "clock"], running: ["run", "play"],
  completed: ["good", "check"], failed: ["bad", "cross"], cancelled: ["off", "stop"],
  ok: ["good", "check"], warn: ["warn", "warning"], down: ["bad", "cross"], done: ["good", "check"],
  closed: ["good", "check"], open: ["bad", "cross"], "half-open": ["warn", "warning"],
  refused: ["bad", "cross"], error: ["bad", "cross"], none: ["off", "stop"], registered: ["good", "check"],
};

/**
 * Show a state as a word with its icon.
 * @param {string} state @param {string} [word] the word, if it is another one than the state
 */
export function badge(state, word = state) {
  const [tone, sign] = STATES[state] ?? ["off", "dot"];
  return h("span", { class: `badge tone-${tone}` }, icon(sign), word);
}

/**
 * Say that there is nothing, and what to do about it.
 * @param {string} title @param {import("./dom.js").Child} whatToDo @param {Node | null} [action]
 */
export function empty(title, whatToDo, action = null) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title", text: title }), h("p", { class: "muted" }, whatToDo), action);
}

/** What to do about an error, where its message does not say it. */
const ADVICE = {
  unreachable: "It may be starting anew. The page goes on by itself once it is back; if not, look at nexus-hub status.",
  "not-allowed": "Ask an operator, or log in with another token.",
  "not-found": "It may have been removed, or it belongs to somebody else.",
  "took-too-long": "Ask for less: set a filter, or try again when there is less to do.",
  "database-unavailable": "The hub goes on by itself once PostgreSQL is back; nexus-hub doctor says more.",
  "prefect-unavailable": "Jobs are kept and start once Prefect is back; nexus-hub doctor says more.",
};

/**
 * Show an error, what to do about it, and a way to try again.
 * @param {any} error @param {(() => any) | null} [retry]
 */
export function failure(error, retry = null) {
  const wait = error.retryAfter ? `Try again in ${number(Math.ceil(error.retryAfter))} s.` : null;
  return h("div", { class: "failure", role: "alert" },
    icon("warning"),
    h("div", {},
      h("p", { class: "failure-title", text: message(error) }),
      frag([ADVICE[error.code], wait].map((text) => text && h("p", { class: "muted", text })))),
    retry && button("Try again", retry));
}

/** Give an error in a sentence. @param {any} error @returns {string} */
export function message(error) {
  return (error instanceof Error && error.message) || "Something went wrong in this page; load it again.";
}

/**
 * Make a button, which is busy while what it does goes on; an error becomes a toast.
 * @param {import("./dom.js").Child} label @param {((event: Event) => any) | null} onClick
 * @param {{kind?: "primary" | "danger" | "plain", [prop: string]: any}} [options] further ones are props of the button
 * @returns {HTMLButtonElement}
 */
export function button(label, onClick, { kind = "plain", ...props } = {}) {
  const made = h("button", { type: "button", ...props, class: ["button", `button-${kind}`, props.class] }, label);
  made.addEventListener("click", async (event) => {
    if (!onClick || made.getAttribute("aria-busy") === "true") return;
    made.setAttribute("aria-busy", "true");
    try {
      await onClick(event);
    } catch (error) {
      if (error.name !== "AbortError") toast(message(error), { kind: "bad" });
    } finally {
      made.removeAttribute("aria-busy");
    }
  });
  return made;
}

/**
 * Ask before something is done that can't be undone.
 * @param {string} title @param {import("./dom.js").Child} text
 * @param {string | {label: string, kind?: "primary" | "danger"}} action @returns {Promise<boolean>}
 */
export function confirm(title, text, action) {
  const { label, kind = "danger" } = typeof action === "string" ? { label: action } : action;
  return new Promise((resolve) => {
    const close = (yes) => () => {
      resolve(yes);
      dialog.close();
    };
    const dialog = openDialog(title, h("p", {}, text), [
      button("Cancel", close(false), { autofocus: true }), button(label, close(true), { kind }),
    ]);
    dialog.addEventListener("close", () => resolve(false));
  });
}

/**
 * Open a dialog, which is gone once it is closed.
 * @param {string} title @param {import("./dom.js").Child} content @param {Node[]} [actions] else one that closes it
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, actions) {
  const heading = h("h2", { id: newId(), text: title });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": heading.id }, heading,
    h("div", { class: "dialog-body" }, content),
    h("div", { class: "dialog-actions" }, actions ?? button("Close", () => dialog.close())));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Say something in passing, to a screen reader too. @param {string} text @param {{kind?: "good" | "bad"}} [options] */
export function toast(text, { kind = "good" } = {}) {
  const made = h("div", { class: `toast tone-${kind}` }, icon(kind === "bad" ? "warning" : "check"), h("span", { text }));
  document.getElementById("toasts")?.append(made);
  setTimeout(() => made.remove(), kind === "bad" ? 10000 : 5000);
}

/**
 * Put a label, and perhaps a hint, to a control.
 * @param {import("./dom.js").Child} label @param {any} input @param {import("./dom.js").Child} [hint] @returns {HTMLElement}
 */
export function field(label, input, hint = null) {
  input.id ||= newId();
  const note = hint && h("p", { class: "hint", id: newId() }, hint);
  if (note) input.setAttribute("aria-describedby", note.id);
  const name = h("label", { for: input.id }, label);
  const isBox = input.type === "checkbox" || input.type === "radio";
  return h("div", { class: isBox ? "field field-box" : "field" }, isBox ? [input, name] : [name, input], note);
}

let ids = 0;

/** Give an id that no other element has. @returns {string} */
export function newId() {
  ids += 1;
  return `id-${ids}`;
}

/**
 * Make the head of a page, with its only h1, and its body.
 * @param {import("./dom.js").Child} title
 * @param {{actions?: import("./dom.js").Child, lead?: import("./dom.js").Child}} [options]
 * @returns {{head: HTMLElement, body: HTMLElement}}
 */
export function page(title, { actions = null, lead = null } = {}) {
  const head = h("div", { class: "page-head" },
    h("div", { class: "page-title" }, h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead)),
    actions && h("div", { class: "page-actions" }, actions));
  return { head, body: h("div", { class: "page-body" }) };
}

/** Show that something is under way. @param {string} [text] */
export function loading(text = "Loading") {
  return h("p", { class: "loading", role: "status", text: `${text} …` });
}

/** Copy text, and say so. @param {string} text */
export async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyBySelection(text);
  toast("Copied.");
}

/** A browser has no clipboard for pages that came over plain HTTP from another machine. */
function copyBySelection(text) {
  const area = h("textarea", { class: "visually-hidden", readOnly: true, value: text });
  const place = document.querySelector("dialog[open]") ?? document.body;
  const focused = document.activeElement;
  place.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!isCopied) throw new Error("The browser does not let this page copy; select the text instead.");
}

/** Hand a file to the reader. @param {string} name @param {BlobPart} content @param {string} type */
export function download(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

