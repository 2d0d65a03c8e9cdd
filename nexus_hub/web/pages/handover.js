// Secrets that are shown this once, to be copied.

import { h } from "../core/dom.js";
import { button, copy, toast } from "../core/parts.js";
import { safe } from "../core/text.js";

/**
 * Show a token, which nobody sees again, with what a client needs beside it.
 * @param {string} name of its user @param {string} token @param {() => void} close @returns {HTMLElement}
 */
export function handover(name, token, close) {
  const address = `${location.origin}/mcp`;
  const config = { mcpServers: { "nexus-hub": { type: "http", url: address, headers: { Authorization: `Bearer ${token}` } } } };
  return h("section", { class: "panel token", "aria-labelledby": "token-title" },
    h("h2", { id: "token-title", tabindex: -1 }, "The token of ", safe(name, { lines: 1 })),
    h("p", { text: "It is shown this once: copy it now, and pass it on by a safe way." }),
    copyable("Token", token),
    h("details", {},
      h("summary", { text: "For an MCP client" }),
      copyable("mcp.json", JSON.stringify(config, null, 2)),
      copyable("Claude Code", `claude mcp add --transport http nexus-hub ${address} --header "Authorization: Bearer ${token}"`)),
    button("I have it", close));
}

/** Show a text that is there to be copied. @param {string} label @param {string} text @returns {HTMLElement} */
export function copyable(label, text) {
  const shown = h("pre", { class: "copyable", tabindex: 0, role: "group", "aria-label": label }, h("code", { text }));
  const mark = async () => {
    try {
      await copy(text);
    } catch { // a browser lets no page copy that came over plain HTTP from another machine
      getSelection()?.selectAllChildren(shown);
      toast("The text is marked: press Ctrl+C to copy it.");
    }
  };
  return h("div", { class: "copy-row" }, shown, button("Copy", mark, { "aria-label": `Copy: ${label}` }));
}
