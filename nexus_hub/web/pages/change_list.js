// Changes of tools, each with its difference word by word, and the way to approve what is held.

import { get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { badge, button, empty, failure, loading, toast } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";

const PAGE = 50;
const WORDS = { added: "new", changed: "changed", removed: "gone" };
const TONES = { added: "ok", changed: "warn", removed: "none" };
const MOST_AT_ONCE = 5000;

export class ChangeList {
  /**
   * @param {() => Record<string, any>} filters @param {any} session @param {AbortSignal} signal
   * @param {() => any} [approved] called once something is approved
   */
  constructor(filters, session, signal, approved = () => {}) {
    Object.assign(this, { filters, session, signal, approved });
    this.element = h("div", { class: "stack", "aria-live": "polite" });
    this.shown = "";
  }

  async load() {
    if (!this.element.firstChild) replace(this.element, loading());
    try {
      const found = await get("/v1/changes", { ...this.filters(), limit: PAGE }, { signal: this.signal });
      this.show(found.items, found.next_cursor);
    } catch (error) {
      if (this.signal.aborted) return;
      this.shown = "";
      replace(this.element, failure(error, () => this.load()));
    }
  }

  show(items, next) {
    const text = JSON.stringify([items, next]);
    if (text === this.shown) return;
    this.shown = text;
    const held = items.filter((one) => this.mayApprove(one));
    replace(this.element,
      !items.length && empty("Nothing is held", "Tools that servers with pins add or change wait here until you approve them."),
      held.length > 1 && h("div", { class: "form-actions" }, button(`Approve all ${number(held.length)} that are shown`, () => this.approve(held))),
      items.map((one) => this.card(one)),
      next && h("p", { class: "muted", text: `The first ${number(items.length)} are shown; choose a server to see fewer.` }));
  }

  mayApprove(change) {
    return change.held && (this.session.is_operator || change.server_type === "user");
  }

  card(change) {
    const name = `${change.server}: ${change.name}`;
    return h("section", { class: "card card-pad change", "aria-label": name.slice(0, 100) },
      h("div", { class: "change-head" },
        h("h3", {}, h("code", {}, safe(change.name, { lines: 1, most: 80, button: false }))),
        badge(TONES[change.change] ?? "none", `${WORDS[change.change] ?? change.change} ${change.kind === "tool" ? "" : change.kind}`.trim()),
        change.held && badge("waiting", "held"),
        h("span", { class: "muted small" }, "of ", link(`/servers/${change.server_type}/${change.server_ref_id}`, safe(change.server, { lines: 1, most: 60, button: false })), ", ", time(change.at)),
        this.mayApprove(change) && button("Approve", () => this.approve([change]), { kind: "primary", "aria-label": `Approve ${name.slice(0, 100)}` })),
      differenceOf(change));
  }

  /** Approve what was shown, by its hash: what changed meanwhile is refused. */
  async approve(changes) {
    const servers = Map.groupBy(changes, (one) => `${one.server_type}/${one.server_ref_id}`);
    for (const [ref, those] of servers) {
      await post(`/v1/servers/${ref}/tools:approve`, { tools: those.map(({ name, hash }) => ({ name, hash })) }, { signal: this.signal });
    }
    toast(changes.length === 1 ? `${changes[0].name} is approved.` : `${number(changes.length)} tools are approved.`);
    await this.load();
    await this.approved();
  }
}

/** Show what is different, member by member. @param {any} change */
function differenceOf({ difference }) {
  if (!difference?.length) return null;
  return h("dl", { class: "difference" }, difference.map(({ member, parts }) => h("div", {},
    h("dt", {}, safe(member, { lines: 1, most: 120, button: false })), h("dd", {}, words(parts)))));
}

/** What is new or gone can be read to its end: nobody should approve what was not shown. */
function words(parts) {
  return parts.map(({ op, text }) => {
    const shown = safe(text, { most: MOST_AT_ONCE });
    if (op === "same") return shown;
    return h(op, {}, h("span", { class: "visually-hidden", text: op === "ins" ? " new: " : " gone: " }), shown);
  });
}
