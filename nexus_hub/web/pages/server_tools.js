// The tools of one server: what each does, if it is switched on, and how its calls are made.

import { patch } from "../core/api.js";
import { h } from "../core/dom.js";
import { number } from "../core/format.js";
import { badge, empty, table, toast } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { DURABLE, needsLogin, routeOf } from "./server_words.js";

/**
 * Show the tools: to who looks after the server all of them, to others those that are offered.
 * @param {{items: any[], next_cursor: string | null}} found @param {any} server @param {boolean} mayChange
 */
export function toolsOf({ items, next_cursor: next }, server, mayChange) {
  const columns = [
    { title: "Tool", cell: nameCell },
    { title: "What it does", cell: (one) => safe(one.title || one.description || "", { lines: 2, most: 160 }) },
    ...(mayChange ? [{ title: "Calls", cell: (one) => policySelect(one, server) }, { title: "On", cell: (one) => onSwitch(one, server) }] : []),
  ];
  const nothing = empty("No tools", emptyWords(server));
  const list = table({ columns, rows: items, key: (one) => one.id, empty: nothing, label: "Tools" });
  return [list.element, next && h("p", { class: "muted" }, `The first ${number(items.length)} are shown; `, link(`/tools?server=${server.id}`, "search them all"), ".")];
}

function emptyWords(server) {
  if (server.enabled === false) return "It is switched off, and offers nothing.";
  if (needsLogin(server)) return "They are read once somebody is logged in there.";
  return "Press Sync tools: what it offers is read anew. It may offer resources or prompts alone.";
}

/** A tool that is held or off has no page, since nobody may call it. */
function nameCell(tool) {
  const name = safe(tool.tool_name, { lines: 1, most: 80, button: false });
  const isOffered = tool.offered !== false;
  const made = isOffered ? link(`/tools/${encodeURIComponent(tool.name)}`, name) : name;
  if (isOffered) made.dataset.open = "";
  return h("span", { class: "tool-state" }, made, tool.held === true && badge("waiting", "held"));
}

/** The switch of one tool; what it says stays while the tool comes and goes. */
function onSwitch(tool, server) {
  const made = h("input", { type: "checkbox", role: "switch", checked: tool.enabled !== false, "aria-label": `On: ${tool.tool_name.slice(0, 80)}` });
  made.addEventListener("change", async () => {
    try {
      await patch(routeOf(server), { tools: { [tool.tool_name]: { enabled: made.checked } } });
      toast(`${tool.tool_name} is ${made.checked ? "on" : "off"}.`);
    } catch (error) {
      made.checked = !made.checked;
      throw error;
    }
  });
  return made;
}

/** The word on one tool's calls, stored once it is chosen. */
function policySelect(tool, server) {
  const words = [["", "as the server"], ...Object.keys(DURABLE).map((value) => [value, value])];
  const made = h("select", { class: "small", "aria-label": `Calls of ${tool.tool_name.slice(0, 80)}` }, words.map(([value, text]) => h("option", { value, text })));
  const said = server.durable_tools ?? {};
  made.value = Object.hasOwn(said, tool.tool_name) ? said[tool.tool_name] : "";
  made.addEventListener("change", async () => {
    await patch(routeOf(server), { tools: { [tool.tool_name]: made.value || null } });
    toast("Saved.");
  });
  return made;
}
