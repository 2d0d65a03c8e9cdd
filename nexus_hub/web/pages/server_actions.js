// What can be done to a server: sync, test, remove.

import { del, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { duration, number } from "../core/format.js";
import { badge, button, failure, field, openDialog } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { readAll } from "./lists.js";
import { adviceOf, routeOf } from "./server_words.js";

const MOST_NAMED = 10;
const MOST_TRIES = 20;
const TRY_MS = 500;

/**
 * Read anew what a server offers, and tell what changed.
 * @param {any} server @param {AbortSignal} signal @returns {Promise<HTMLElement>}
 */
export async function sync(server, signal) {
  return attempt(server, async () => {
    const before = await listTools(server, signal);
    const found = await syncInTurn(server, signal);
    const after = await listTools(server, signal);
    const changes = compareTools(before, after);
    return told("ok", "Tools are in sync", [h("p", { text: `${changes || "Nothing changed"}: it offers ${count(found)}.` }), heldWords(after), omitted(found)]);
  });
}

/** Wait for a reading that is under way already: what changed may have come after it. */
async function syncInTurn(server, signal) {
  for (let left = MOST_TRIES; ; left--) {
    try {
      return await post(`${routeOf(server)}/sync`, undefined, { signal });
    } catch (error) {
      if (error.code !== "refresh-running" || left === 0) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_MS));
  }
}

/**
 * Connect to a server, and tell what was found and how long it took.
 * @param {any} server @param {AbortSignal} signal @returns {Promise<HTMLElement>}
 */
export async function test(server, signal) {
  return attempt(server, async () => {
    const start = performance.now();
    const found = await post(`${routeOf(server)}/test`, undefined, { signal });
    const { name = "", version = "" } = found.server_info ?? {};
    const who = `${name} ${version}`.trim();
    return told("ok", "It answers", [
      h("p", { text: `It offers ${count(found)}, found in ${duration(performance.now() - start)}.` }),
      h("p", { class: "muted" }, who && ["It calls itself ", safe(who, { lines: 1, most: 80 }), "; "], `protocol ${found.protocol_version ?? "unknown"}.`),
      omitted(found),
    ]);
  });
}

async function attempt(server, act) {
  try {
    return await act();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const advice = adviceOf(error.code);
    return h("div", { class: "told" }, failure(error), advice && h("p", { class: "muted", text: advice }));
  }
}

function told(state, title, content) {
  return h("div", { class: "told card card-pad", role: "status" }, h("p", {}, badge(state, title)), content);
}

/** Count what a test or a sync found. */
function count(found) {
  const words = ["tools", "resources", "prompts"].map((kind) => `${number(found[kind])} ${found[kind] === 1 ? kind.slice(0, -1) : kind}`);
  return words.join(", ");
}

/** Tell what of a server the hub could not take, and why. @param {any} found */
export function omitted(found) {
  const items = found.omitted ?? [];
  if (!items.length) return null;
  return h("details", { class: "omitted" }, h("summary", { text: `${number(items.length)} left out` }),
    h("ul", {}, items.slice(0, 100).map((one) => h("li", {}, one.place, " ", one.name && safe(one.name, { lines: 1, most: 80 }), ": ", safe(one.reason, { lines: 2, most: 300 })))));
}

/** @returns {Promise<Map<string, any>>} all tools of a server by their names, also those that are off or held */
async function listTools(server, signal) {
  const found = await readAll(`${routeOf(server)}/tools`, {}, signal);
  return new Map(found.map((one) => [one.name, one]));
}

function compareTools(before, after) {
  const added = [...after.keys()].filter((name) => !before.has(name));
  const gone = [...before.keys()].filter((name) => !after.has(name));
  const changed = [...after].filter(([name, one]) => before.has(name) && before.get(name).hash !== one.hash).map(([name]) => name);
  const words = [[added, "new"], [gone, "gone"], [changed, "changed"]];
  return words.filter(([names]) => names.length).map(([names, word]) => `${number(names.length)} ${word} (${list(names)})`).join(", ");
}

/** Say what waits for approval after a sync. */
function heldWords(tools) {
  const names = [...tools.values()].filter((one) => one.held).map((one) => one.name);
  return names.length ? h("p", {}, `Held until somebody approves ${names.length === 1 ? "it" : "them"}, see `, link("/changes", "Changes"), `: ${list(names)}.`) : null;
}

function list(names) {
  const shown = names.slice(0, MOST_NAMED).join(", ");
  return names.length > MOST_NAMED ? `${shown} …` : shown;
}

/**
 * Remove a server once its name was typed.
 * @param {any} server @returns {Promise<boolean>} true if it is gone
 */
export function remove(server) {
  return new Promise((resolve) => {
    const name = h("input", { type: "text", autocomplete: "off", spellcheck: "false", autofocus: true });
    const wrong = h("div", {});
    const away = button("Remove", async () => {
      try {
        await del(routeOf(server));
        resolve(true);
        dialog.close();
      } catch (error) {
        replace(wrong, failure(error));
      }
    }, { kind: "danger", disabled: true });
    name.addEventListener("input", () => (away.disabled = name.value !== server.name));
    name.addEventListener("keydown", (event) => event.key === "Enter" && !away.disabled && away.click());
    const text = "Its tools can no longer be called, and its headers and variables are forgotten. Jobs that it ran stay.";
    const dialog = openDialog(`Remove ${server.name}?`, [h("p", { text }), field(["Type ", h("strong", { text: server.name }), " to go on"], name), wrong],
      [button("Cancel", () => dialog.close()), away]);
    dialog.addEventListener("close", () => resolve(false));
  });
}
