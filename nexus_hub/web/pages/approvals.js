// Approvals: calls that wait for a person's yes, and what was decided before.

import { get } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { every } from "../core/live.js";
import { empty, failure, loading, page, table } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { askerCell, decision, pageOf, stateBadge } from "./approval_words.js";

const WAITING_SECONDS = 3;
const PAGE = 50;

/** @returns {string} */
export function title() {
  return "Approvals";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { session, signal }) {
  const { head, body } = page("Approvals", {
    lead: session.is_operator ? "Calls that wait until a person has looked at them. Each yes is good for one call with these very arguments."
      : "Your calls that wait for a person’s yes, and those of others to which you may say it.",
  });
  const yours = listOf([TOOL, ASKER, ASKED, ENDS], empty("Nothing waits for you", "Calls come here where a grant says that a person has to say yes to each."), "Waiting for you");
  const own = listOf([TOOL, ASKED, ENDS, JOB], null, "Waiting for others");
  const over = listOf([TOOL, ASKER, STATE, DECIDED], empty("Nothing was decided yet", "Approved, denied and expired calls are listed here."), "Decided");
  const place = h("div", { class: "page-body" }, loading());
  const ownPart = part("Your calls that wait for others", own.element);
  const shown = [part("Waiting for you", yours.element), ownPart, part("Decided", over.element)];
  const load = async () => {
    const [waiting, all] = await Promise.all([
      get("/v1/approvals", { state: "waiting", limit: PAGE }, { signal }), get("/v1/approvals", { limit: PAGE }, { signal }),
    ]);
    keep(yours, waiting.items.filter((one) => one.may_decide));
    const others = waiting.items.filter((one) => !one.may_decide);
    keep(own, others);
    ownPart.hidden = !others.length;
    keep(over, all.items.filter((one) => one.state !== "waiting"));
    if (!shown[0].isConnected) replace(place, shown);
  };
  body.append(place);
  root.append(head, body);
  await every(WAITING_SECONDS, load, signal).catch((error) => {
    if (!signal.aborted) replace(place, failure(error, load));
  });
}

function part(name, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), content);
}

const TOOL = { title: "Call of", cell: toolCell };
const ASKER = { title: "Asked by", cell: askerCell };
const ASKED = { title: "Asked", cell: (one) => time(one.asked_at) };
const ENDS = { title: "Too late", cell: (one) => time(one.expires_at) };
const JOB = { title: "Its job", cell: (one) => link(`/jobs/${one.job_id}`, "Open") };
const STATE = { title: "State", cell: (one) => stateBadge(one.state) };
const DECIDED = { title: "Decided", cell: (one) => decision(one) ?? h("span", { class: "muted", text: "by nobody" }) };

function toolCell(one) {
  const made = link(pageOf(one), h("code", {}, safe(one.tool, { lines: 1, most: 80, button: false })));
  made.dataset.open = "";
  return made;
}

/** A list with the texts of its rows: a row that says the same as before is left as it is, with its focus. */
function listOf(columns, nothing, label) {
  return { ...table({ columns, rows: [], key: (one) => one.id, label, empty: nothing }), known: new Map() };
}

function keep(list, items) {
  list.known = new Map(items.map((one) => {
    const text = JSON.stringify(one);
    const before = list.known.get(one.id);
    return [one.id, before?.text === text ? before : { text, row: one }];
  }));
  list.update([...list.known.values()].map((one) => one.row));
}
