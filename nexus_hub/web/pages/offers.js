// What system servers offer, read once for as long as a page needs it.

import { readAll } from "./lists.js";

/**
 * @typedef {{kind: string, source: string, title: string | null, description: string | null, arguments: any}} Offer
 * `arguments`: the input schema of a tool, made one of those of a prompt.
 */

export class Offers {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    /** @type {Map<string, Promise<Offer[]>>} */
    this.read = new Map();
    /** @type {Promise<any[]> | null} */
    this.known = null;
  }

  /** List the names of the servers. @returns {Promise<string[]>} */
  async servers() {
    this.known ??= readAll("/v1/servers", {}, this.signal);
    return (await this.known).filter((one) => one.server_type === "system").map((one) => one.name);
  }

  /** List what a server offers of a kind. @param {string} server @param {string} kind @returns {Promise<Offer[]>} */
  of(server, kind) {
    const key = `${kind} ${server}`;
    const asked = this.read.get(key) ?? this.ask(server, kind);
    this.read.set(key, asked);
    asked.catch(() => this.read.delete(key));
    return asked;
  }

  /** Find one; null if the server does not offer it now. @returns {Promise<Offer | null>} */
  async find({ server, kind, source }) {
    return (await this.of(server, kind)).find((one) => one.source === source) ?? null;
  }

  async ask(server, kind) {
    const list = kind === "tool" ? "tools" : kind === "prompt" ? "prompts" : "resources";
    const found = await readAll(`/v1/${list}`, { server }, this.signal);
    const fitting = list === "resources" ? found.filter((one) => one.is_template === (kind === "template")) : found;
    return fitting.map((one) => ({
      kind, source: one.tool_name ?? one.prompt_name ?? one.name, title: one.title, description: one.description,
      arguments: kind === "tool" ? one.definition.inputSchema : kind === "prompt" ? schemaOf(one.definition.arguments) : {},
    }));
  }
}

function schemaOf(given) {
  const known = Array.isArray(given) ? given.filter((one) => typeof one?.name === "string") : [];
  const properties = Object.fromEntries(known.map(({ name, description }) => [name, { type: "string", description }]));
  return { type: "object", properties, required: known.filter((one) => one.required).map((one) => one.name) };
}
