// One bundle: its endpoint, what callers see in it, and what it is made of.

import { del, get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { parse } from "../core/json_text.js";
import { badge, button, confirm, empty, failure, loading, page, table, toast } from "../core/parts.js";
import { go, link, setQuery } from "../core/router.js";
import { safe } from "../core/text.js";
import { bundleEditor } from "./bundle_edit.js";
import { KINDS, changesOf, nameOf } from "./bundle_words.js";
import { accessCell, pageOf } from "./bundles.js";
import { copyable } from "./handover.js";
import { hintBadges } from "./tool_words.js";

const TOOLS = 200;

/** @returns {string} */
export function title(params) {
  return params?.name ? params.name.slice(0, 40) : "Bundle";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, query, session, signal }) {
  const route = `/v1/bundles/${encodeURIComponent(params.name)}`;
  const bundle = parse(await get(route, {}, { signal, text: true }));
  const isEdit = query.has("edit") && session.is_operator;
  const { head, body } = page(safe(bundle.title || bundle.name, { lines: 1, most: 80 }), {
    lead: [h("code", { text: bundle.name }), ", one of ", link("/bundles", "the bundles")],
    actions: session.is_operator && !isEdit && [
      button("Edit", () => setQuery({ edit: 1 }), { kind: "primary" }), button("Remove", () => remove(bundle, route), { kind: "danger" }),
    ],
  });
  if (isEdit) body.append(await bundleEditor(bundle, route, (saved) => go(pageOf(saved)), signal));
  else body.append(...shown(bundle, session, signal));
  replace(root, head, body);
}

async function remove(bundle, route) {
  const text = "Clients that use its endpoint are refused at once, and what was granted on it is forgotten. The servers behind it stay.";
  if (!(await confirm(`Remove the bundle ${bundle.name}?`, text, "Remove"))) return;
  await del(route);
  toast(`${bundle.name} is removed.`);
  go("/bundles");
}

function shown(bundle, session, signal) {
  return [
    part("Endpoint", h("div", { class: "stack" }, copyable("Address", `${location.origin}/mcp/${bundle.name}`),
      session.is_operator && h("p", { class: "muted" }, "Access: ", accessCell(bundle.access), ". Who may use it is said at ", link("/access", "Access"), "."))),
    bundle.instructions && part("What a client is told", h("p", {}, safe(bundle.instructions, { lines: 12, most: 2000 }))),
    part("Tools as callers see them", toolsPart(bundle, signal)),
    session.is_operator && bundle.entries && part("What it is made of", entriesOf(bundle.entries)),
  ].filter(Boolean);
}

function part(name, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), content);
}

function toolsPart(bundle, signal) {
  const place = h("div", { class: "stack" }, loading());
  const load = async () => {
    try {
      replace(place, toolsOf(await get("/v1/tools", { bundle: bundle.name, limit: TOOLS }, { signal }), bundle));
    } catch (error) {
      if (!signal.aborted) replace(place, failure(error, load));
    }
  };
  load();
  return place;
}

function toolsOf({ items, next_cursor: next }, bundle) {
  const columns = [
    { title: "Tool", cell: openLink },
    { title: "What it does", cell: (one) => safe(one.description || one.title || "", { lines: 2, most: 220, button: false }) },
    { title: "Effect", cell: hintBadges },
  ];
  const nothing = empty("It offers no tool", "It may hold prompts or resources alone, or its servers do not offer now what it names.");
  const list = table({ columns, rows: items, key: (one) => one.name, label: "Tools", empty: nothing }).element;
  return [list, next && h("p", { class: "muted" }, `The first ${number(items.length)} are shown; `, link(`/tools?bundle=${encodeURIComponent(bundle.name)}`, "search them all"), ".")];
}

/** A tool is called by its short name at the bundle's endpoint, and by the whole one elsewhere. */
function openLink(tool) {
  const made = link(`/tools/${encodeURIComponent(tool.name)}`, h("code", {}, safe(tool.definition.name, { lines: 1, most: 70, button: false })));
  made.dataset.open = "";
  made.title = `Elsewhere it is called ${tool.name}`;
  return made;
}

function entriesOf(entries) {
  const columns = [
    { title: "Called", cell: (one) => (one.source === "*" ? h("span", { class: "muted", text: "by their own names" }) : h("code", {}, safe(nameOf(one), { lines: 1, most: 70, button: false }))) },
    { title: "Is", cell: (one) => [KINDS[one.kind], " ", one.source === "*" ? "all" : h("code", {}, safe(one.source, { lines: 1, most: 80, button: false })), " of ", safe(one.server, { lines: 1, most: 40, button: false })] },
    { title: "Changed", cell: changesCell },
    { title: "State", cell: (one) => (one.state === "missing" ? badge("warn", "not offered now") : badge("ok", "there")) },
  ];
  const key = (one) => [one.kind, one.server, one.source, one.name].join("\n");
  return table({ columns, rows: entries, key, label: "Entries", empty: empty("It is empty", "Press Edit, and choose what belongs to it.") }).element;
}

function changesCell(entry) {
  const words = changesOf(entry);
  return words.length ? h("span", { class: "named" }, words.map((word) => h("span", { class: "badge tone-off", text: word }))) : h("span", { class: "muted", text: "–" });
}
