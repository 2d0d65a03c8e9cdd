// The vault's keys: what each of them seals, and a rotation that is watched while it runs.
import { get, post } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { duration, number, time } from "../core/format.js";
import { every } from "../core/live.js";
import { badge, button, confirm, empty, failure, field, page, table, toast } from "../core/parts.js";
import { safe } from "../core/text.js";

const POLL_SECONDS = 1;
const MOST_ERRORS = 20;
const WHAT_IT_DOES = "A rotation seals every value anew under another key, which becomes the primary. "
  + "The hub works as usual meanwhile, and it goes on without this page; if it is interrupted, starting it again goes on where it was.";
const NEW_KEY = "nexus-hub vault keygen --add";

/** Name the page. */
export const title = () => "Keys";

/** Show the keys and the rotation. */
export async function render(root, { signal }) {
  const panel = h("section", { class: "panel rotation", "aria-labelledby": "rotation-title" });
  const warnings = h("div", {});
  const keys = table({
    columns: COLUMNS,
    key: (key) => key.key_id, label: "Keys",
    empty: empty("The vault holds no key", "Make one with nexus-hub vault keygen --add, where the hub runs."),
  });
  const { head, body } = page(title(), {
    lead: "What the hub stores of servers – addresses, headers, environment – is sealed. Keys are named by their ids and never shown.",
  });
  body.append(warnings, panel, keys.element);
  root.append(head, body);

  let running = null;
  const reload = async () => {
    try {
      const [vault, rotation] = await Promise.all([
        get("/v1/vault", {}, { signal }),
        get("/v1/vault/rotation", {}, { signal }),
      ]);
      keys.update(vault.keys);
      replace(warnings, missing(vault));
      show(vault, rotation);
    } catch (error) {
      if (!signal.aborted) replace(panel, failure(error, reload));
    }
  };
  const show = (vault, rotation) => {
    const runs = rotation.state === "running";
    replace(panel, heading(rotation), runs ? progress(rotation) : [last(rotation), start(vault, follow)]);
    if (runs) follow();
  };
  const follow = () => {
    if (running) return;
    running = new AbortController();
    const stop = AbortSignal.any([signal, running.signal]);
    every(POLL_SECONDS, () => poll(stop), stop).catch(() => {});
  };
  const poll = async (stop) => {
    const rotation = await get("/v1/vault/rotation", {}, { signal: stop });
    if (rotation.state === "running") return advance(panel, rotation);
    running.abort();
    running = null;
    toast(rotation.state === "done" ? "All values are under the new key." : "The rotation ended with errors.");
    return reload();
  };
  await reload();
}

const COLUMNS = [
  { title: "Key", cell: (key) => h("code", { text: key.key_id }) },
  { title: "Use", cell: (key) => (isPrimary(key) ? badge("ok", "primary") : h("span", { text: "only opens" })) },
  { title: "Values sealed", class: "number", cell: (key) => number(key.sealed) },
  { title: "First used", cell: (key) => since(key.first_used_at, "not yet") },
  { title: "Last rotation to it", cell: (key) => since(key.rotated_at, "none") },
];

const isPrimary = (key) => key.is_primary;

const since = (at, otherwise) => (at ? time(at) : h("span", { class: "muted", text: otherwise }));

const heading = (rotation) =>
  h("h2", { id: "rotation-title", text: rotation.state === "running" ? "A rotation is running" : "Rotation" });

function missing(vault) {
  return (vault.missing_keys ?? []).map((key) => h("p", { class: "notice", role: "alert" }, icon("warning"),
    h("span", {}, `${number(key.rows)} values are sealed under `, h("code", { text: key.key_id }),
      ", which this hub does not hold: they can’t be opened. Put the key back into the keyring.")));
}

function progress(rotation) {
  return [
    h("div", { class: "rotation-bar" },
      setBar(h("progress", { "aria-label": "Values sealed anew" }), rotation),
      h("output", { text: counted(rotation) })),
    h("p", { class: "muted" }, "Started ", time(rotation.started_at),
      ". It goes on without this page, and the hub works as usual meanwhile."),
  ];
}

/** Move the bar where there is one, so that a screen reader does not begin anew each second. */
function advance(panel, rotation) {
  const bar = panel.querySelector("progress");
  if (!bar) return replace(panel, heading(rotation), progress(rotation));
  setBar(bar, rotation);
  panel.querySelector("output").textContent = counted(rotation);
  return null;
}

/** Set a bar, which only moves to and fro until it is known how much there is to do. */
function setBar(bar, { done, total }) {
  if (total === null) return bar;
  bar.max = Math.max(total, 1);
  bar.value = done;
  return bar;
}

const counted = ({ done, total }) => (total === null ? "counting" : `${number(done)} of ${number(total)} values`);

function last(rotation) {
  if (rotation.state === "none") return h("p", { text: "There was no rotation yet." });
  const took = duration(new Date(rotation.ended_at ?? Date.now()) - new Date(rotation.started_at));
  const errors = rotation.errors ?? [];
  return [
    h("p", { class: "last" }, badge(rotation.state), ` ${number(rotation.done)} values sealed anew in ${took}, `,
      time(rotation.ended_at ?? rotation.started_at), "."),
    errors.length
      ? h("ul", { class: "errors" }, errors.slice(0, MOST_ERRORS).map((line) => h("li", {}, safe(line, { lines: 3 }))))
      : null,
    errors.length > MOST_ERRORS ? h("p", { text: `and ${number(errors.length - MOST_ERRORS)} more` }) : null,
  ];
}

/** Offer a rotation, or say where a key to go to comes from. */
function start(vault, follow) {
  const targets = vault.keys.filter((key) => !isPrimary(key));
  if (!targets.length) {
    return h("p", {}, "To rotate, the keyring needs a second key. Make one with ", h("code", { text: NEW_KEY }),
      " where the hub runs, then load this page again. Where keys come from the environment, set ",
      h("code", { text: "VAULT_NEW_KEY" }), ".");
  }
  const unused = targets.find((key) => !key.first_used_at && !key.sealed) ?? targets[0];
  const choice = h("select", {},
    targets.map((key) => h("option", { value: key.key_id, selected: key === unused, text: key.key_id })));
  const rotate = async () => {
    const values = number(vault.keys.reduce((sum, key) => sum + key.sealed, 0));
    const text = `All ${values} values are sealed anew under the key ${choice.value}, which becomes the primary. `
      + "What they replace stays as a backup for 30 days, so keep the old key.";
    if (!(await confirm("Rotate the keys?", text, { label: "Rotate", kind: "primary" }))) return;
    await post("/v1/vault/rotate", { new_key_id: choice.value });
    follow();
  };
  return [h("p", { class: "muted", text: WHAT_IT_DOES }), h("form", { class: "row", on: { submit: (event) => event.preventDefault() } },
    field("To the key", choice), button("Rotate keys", rotate, { kind: "primary" }))];
}
