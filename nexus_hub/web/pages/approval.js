// One call that wants a person's yes: what would be sent, for whom, and the yes or no to exactly that.

import { get, post } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { time } from "../core/format.js";
import { every } from "../core/live.js";
import { button, failure, field, page, toast } from "../core/parts.js";
import { link } from "../core/router.js";
import { safe } from "../core/text.js";
import { readExact, tree } from "../core/tree.js";
import { memberText } from "../jobs/member.js";
import { askerCell, decision, stateBadge } from "./approval_words.js";

const LOOK_SECONDS = 3;
const LONGEST_REASON = 500;
/** So long the buttons rest, so that no click that was meant for another page hits them. */
const REST_MS = 600;

/** @returns {string} */
export function title() {
  return "Approval";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, signal }) {
  const route = `/v1/approvals/${encodeURIComponent(params.id)}`;
  const over = new AbortController();
  const view = new ApprovalView(root, route, signal);
  await every(LOOK_SECONDS, async () => {
    if (!(await view.load())) over.abort();
  }, AbortSignal.any([signal, over.signal]));
}

class ApprovalView {
  constructor(root, route, signal) {
    Object.assign(this, { root, route, signal });
    this.state = h("span", { role: "status" });
    this.facts = h("dl", { class: "facts card card-pad" });
    this.wrong = h("div", {});
    this.decide = h("div", {});
    this.shown = "";
  }

  /** Show how it stands. @returns {Promise<boolean>} true if that may change */
  async load() {
    const text = await get(this.route, {}, { signal: this.signal, text: true });
    const approval = JSON.parse(text);
    if (text !== this.shown) {
      if (!this.shown) this.frame(approval, text);
      this.shown = text;
      this.show(approval);
    }
    return approval.state === "waiting" || approval.state === "approved";
  }

  frame(approval, text) {
    document.title = `${approval.tool.slice(0, 60)}, approval · nexus-hub`;
    const { head, body } = page(["May this be called? ", this.state], {
      lead: [h("code", {}, safe(approval.tool, { lines: 1, most: 100 })), approval.server && [" of ", safe(approval.server, { lines: 1, most: 60 })], ", for ", askerCell(approval)],
    });
    body.append(this.facts, h("section", { class: "access-section" }, h("h2", { text: "What would be sent" }), argumentsPart(text)), this.decide, this.wrong);
    replace(this.root, head, body);
  }

  show(approval) {
    replace(this.state, stateBadge(approval.state));
    replace(this.facts, factsOf(approval));
    const mayDecide = approval.state === "waiting" && approval.may_decide;
    if (!mayDecide) replace(this.decide, approval.state === "waiting" && h("p", { class: "muted", text: waitingWords(approval) }));
    else if (!this.decide.firstChild) replace(this.decide, this.form(approval));
  }

  form(approval) {
    const reason = h("textarea", { rows: "2", maxlength: LONGEST_REASON });
    const answer = (approve) => () => this.answer(approval, approve, reason.value.trim());
    const yes = button([icon("check"), "Yes, call it"], answer(true), { kind: "primary", disabled: true });
    const no = button([icon("cross"), "No"], answer(false), { kind: "danger", disabled: true });
    setTimeout(() => (yes.disabled = no.disabled = false), REST_MS);
    return h("section", { class: "card card-pad form-grid", "aria-label": "Your answer" },
      field("Reason", reason, "May be left empty. Whoever asked reads it, and it is kept."),
      h("div", { class: "form-actions" }, yes, no));
  }

  async answer({ digest }, approve, reason) {
    replace(this.wrong);
    try {
      await post(this.route, { approve, digest, ...(reason && { reason }) }, { signal: this.signal });
      toast(approve ? "Approved: it is called now." : "Denied: it is not called.");
    } catch (error) {
      if (error.name === "AbortError") throw error;
      replace(this.wrong, failure(error));
    }
    replace(this.decide);
    await this.load();
  }
}

function factsOf(approval) {
  const decided = decision(approval);
  const rows = [
    ["Asked by", askerCell(approval)], ["Asked", time(approval.asked_at)],
    [approval.state === "waiting" ? "Too late" : "Was good until", time(approval.expires_at)],
    approval.is_own && approval.state === "waiting" && ["Who may answer", ["an operator", ...approval.approvers.map((one) => `the group ${one}`)].join(", ")],
    ["Its job", link(`/jobs/${approval.job_id}`, "Open the job")],
    decided && [approval.state === "denied" ? "Denied" : "Approved", decided],
  ];
  return rows.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value)));
}

/** The arguments are open at once: nobody should say yes to what was not seen. */
function argumentsPart(text) {
  const sent = memberText(text, "arguments") ?? "{}";
  if (sent === "{}") return h("p", { class: "card card-pad", text: "No arguments." });
  return h("div", { class: "card card-pad sent" }, tree(readExact(sent)));
}

function waitingWords({ approvers }) {
  return `It waits for an operator${approvers.length ? `, or a member of ${approvers.join(" or ")},` : ""} to say yes.`;
}
