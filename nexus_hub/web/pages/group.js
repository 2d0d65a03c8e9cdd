// One group: who belongs to it, by hand or by an issuer's claim, and what its members may do.

import { del, get, patch, put } from "../core/api.js";
import { h, icon, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button, confirm, empty, failure, field, page, table, toast } from "../core/parts.js";
import { go, here, link } from "../core/router.js";
import { safe } from "../core/text.js";
import { approversCell, levelBadge, targetCell, targetName } from "./access_words.js";
import { grantForm } from "./grant_form.js";
import { readAll } from "./lists.js";

/** @returns {string} */
export function title(params) {
  return params?.group ? params.group.slice(0, 60) : "Group";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { params, signal }) {
  const route = `/v1/groups/${encodeURIComponent(params.group)}`;
  const [group, users, groups] = await Promise.all([get(route, {}, { signal }), get("/v1/users", {}, { signal }), readAll("/v1/groups", {}, signal)]);
  const again = () => go(here(), { replace: true });
  const { head, body } = page(safe(group.name, { lines: 1, most: 64 }), {
    lead: group.is_everyone ? ["Every user belongs to this group. ", link("/access", "All groups")] : ["One of ", link("/access", "the groups"), "."],
    actions: group.is_everyone ? null : button("Remove group", () => remove(group, route), { kind: "danger" }),
  });
  body.append(part("What its members may do", null, h("div", { class: "stack" }, grantsOf(group, route, again), grantForm(`${route}/grants`, groups, again, signal))));
  if (!group.is_everyone) {
    body.append(
      part("Members", null, membersPart(group, route, users.items, again)),
      part("Claims", "A user whose issuer names one of these groups is a member too, from the next log-in on.", claimsForm(group, route)));
  }
  replace(root, head, body);
}

function part(name, lead, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), lead && h("p", { class: "muted", text: lead }), content);
}

async function remove(group, route) {
  const text = `Its ${number(group.members.length)} members lose what it is granted; the users themselves stay.`;
  if (!(await confirm(`Remove the group ${group.name}?`, text, "Remove"))) return;
  await del(route);
  toast(`${group.name} is removed.`);
  go("/access");
}

function grantsOf(group, route, again) {
  const revoke = async (grant) => {
    if (!(await confirm("Revoke this grant?", `Members of ${group.name} have no longer a word of their own on ${targetName(grant)}.`, "Revoke"))) return;
    await del(`${route}/grants/${encodeURIComponent(grant.id)}`);
    toast("The grant is revoked.");
    again();
  };
  const columns = [
    { title: "Of", cell: targetCell },
    { title: "They may", cell: (grant) => levelBadge(grant.level) },
    { title: "Yes is said by", cell: approversCell },
    { title: "Actions", class: "actions", cell: (grant) => button("Revoke", () => revoke(grant), { kind: "danger", "aria-label": `Revoke: ${targetName(grant)}` }) },
  ];
  const nothing = empty("Nothing is granted", "Its members may do what the default says, and what their other groups are granted.");
  return table({ columns, rows: group.grants, key: (grant) => grant.id, label: "Grants", empty: nothing }).element;
}

function membersPart(group, route, users, again) {
  const leave = async (user) => {
    await del(`${route}/members/${encodeURIComponent(user.name)}`);
    toast(`${user.name} is no member any more.`);
    again();
  };
  const members = group.members.map((user) => h("li", { class: "member" },
    link(`/users/${encodeURIComponent(user.name)}`, safe(user.name, { lines: 1, most: 64, button: false })),
    button(icon("cross"), () => leave(user), { class: "button-bare", "aria-label": `Take ${user.name} out`, title: "Take out" })));
  const inside = new Set(group.members.map((user) => user.name));
  const others = users.filter((user) => !inside.has(user.name));
  return h("div", { class: "stack" },
    members.length ? h("ul", { class: "members" }, members) : h("p", { class: "muted", text: "Nobody was put in by hand." }),
    others.length > 0 && joinForm(others, route, again));
}

function joinForm(others, route, again) {
  const select = h("select", { required: true }, h("option", { value: "", text: "Choose a user" }), others.map((user) => h("option", { value: user.name, text: user.name })));
  const submit = button("Add member", async () => {
    if (!select.reportValidity()) return;
    await put(`${route}/members/${encodeURIComponent(select.value)}`);
    again();
  });
  return h("form", { class: "token-form", on: { submit: (event) => (event.preventDefault(), submit.click()) } }, field("New member", select), submit);
}

function claimsForm(group, route) {
  const claims = h("textarea", { class: "mono", rows: "3", autocomplete: "off", spellcheck: "false", value: group.claims.join("\n") });
  const wrong = h("div", {});
  const submit = button("Save claims", async () => {
    replace(wrong);
    try {
      await patch(route, { claims: claims.value.split("\n").map((one) => one.trim()).filter(Boolean) });
      toast("Saved.");
    } catch (error) {
      replace(wrong, failure(error));
    }
  });
  return h("form", { class: "stack narrow", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    field("Names of groups at the issuer, one a line", claims), wrong, h("div", { class: "form-actions" }, submit));
}
