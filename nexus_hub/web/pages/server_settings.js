// What an operator, or a server's owner, says of a server: its limits, its jobs, its catalog and who may use it.

import { patch } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { button, failure, field, toast } from "../core/parts.js";
import { ACCESS } from "./access_words.js";
import { DURABLE } from "./server_words.js";

const SHORTEST_TTL = 60;
const LONGEST_TTL = 31_536_000;

/**
 * Make the form.
 * @param {any} server @param {string} route @param {() => Promise<any>} load @returns {HTMLElement}
 */
export function settingsForm(server, route, load) {
  const { per_minute: all, user_per_minute: each } = server.limit ?? {};
  const inputs = {
    limit_per_minute: countInput(all ?? server.limit_per_minute, 1, 1_000_000),
    user_limit_per_minute: countInput(each ?? server.user_limit_per_minute, 1, 1_000_000),
    durable: select(DURABLE, server.durable ?? "long"),
    handle_seconds: h("input", { type: "number", min: "0", max: "86400", step: "any", autocomplete: "off", value: server.handle_seconds ?? "" }),
    ttl_seconds: countInput(server.ttl_seconds, SHORTEST_TTL, LONGEST_TTL),
    tags: h("input", { type: "text", autocomplete: "off", spellcheck: "false", value: (server.tags ?? []).join(", ") }),
    pin: h("input", { type: "checkbox", checked: server.pin === true }),
    ...(server.server_type === "system" && { access: select({ "": "as the hub’s default says", ...ACCESS }, server.access ?? "") }),
  };
  const wrong = h("div", {});
  const stored = readAll(inputs);
  const submit = button("Save", () => save(inputs, stored, wrong, route, load), { kind: "primary" });
  return h("form", { class: "card card-pad form-grid", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    h("div", { class: "form-columns" },
      field("Calls a minute, all together", inputs.limit_per_minute, "Left empty: no limit."),
      field("Calls a minute, each user", inputs.user_limit_per_minute, "Left empty: no limit."),
      field("Calls of its tools", inputs.durable, "Single tools may have a word of their own, below."),
      field("A call takes long after, in seconds", inputs.handle_seconds, "Left empty: the hub's own count. 0: never."),
      inputs.access && field("Access", inputs.access, "What a group is granted goes before this."),
      field("Tags", inputs.tags, "Such as travel, with commas between them; tools are found by them."),
      field("Read again after, in seconds", inputs.ttl_seconds, "Left empty: as the hub does by itself.")),
    field("Pins: hold each tool that is new or was changed, until somebody approves it", inputs.pin, "What it offers now counts as approved once this is switched on."),
    wrong, h("div", { class: "form-actions" }, submit));
}

function countInput(value, least, most) {
  return h("input", { type: "number", min: String(least), max: String(most), autocomplete: "off", value: value ?? "" });
}

function select(words, value) {
  const made = h("select", {}, Object.entries(words).map(([one, text]) => h("option", { value: one, text })));
  made.value = value;
  return made;
}

/** Store what was changed, and nothing else: others may have changed the rest meanwhile. */
async function save(inputs, stored, wrong, route, load) {
  replace(wrong);
  if (!Object.values(inputs).every((input) => input.reportValidity())) return;
  const now = readAll(inputs);
  const changed = Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(stored[name]));
  try {
    if (changed.length) await patch(route, Object.fromEntries(changed));
    Object.assign(stored, now);
    toast(changed.length ? "Saved." : "There is nothing to save.");
    await load();
  } catch (error) {
    replace(wrong, failure(error));
  }
}

function readAll(inputs) {
  return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, read(name, input)]));
}

function read(name, input) {
  if (input.type === "checkbox") return input.checked;
  if (name === "tags") return input.value.split(",").map((one) => one.trim().toLowerCase()).filter(Boolean);
  if (input.value === "") return null;
  return input.type === "number" ? Number(input.value) : input.value;
}
