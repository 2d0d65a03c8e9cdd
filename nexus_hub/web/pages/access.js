// Access: what is said of nothing else, the groups, and what one user may do.

import { get, patch, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number } from "../core/format.js";
import { button, confirm, failure, field, page, table, toast } from "../core/parts.js";
import { go, link, setQuery } from "../core/router.js";
import { safe } from "../core/text.js";
import { ACCESS, levelBadge, targetName } from "./access_words.js";
import { readAll } from "./lists.js";
import { permissionsPanel } from "./permissions.js";

const NAME = "[A-Za-z0-9][A-Za-z0-9._@\\-]{0,63}";
const MOST_GRANTS = 3;

/** @returns {string} */
export function title() {
  return "Access";
}

/** @param {HTMLElement} root @param {any} context */
export async function render(root, { query, signal }) {
  const { head, body } = page("Access", {
    lead: "Users see and call what a group of theirs is granted. What is said of a tool goes before what is said of its server, and that before the default.",
  });
  const [access, groups, users] = await Promise.all([
    get("/v1/access", {}, { signal }), readAll("/v1/groups", {}, signal), get("/v1/users", {}, { signal }),
  ]);
  body.append(
    section("The default", "Of servers and bundles that say nothing themselves.", defaultForm(access.default)),
    section("Groups", null, h("div", { class: "stack" }, groupsOf(groups), newGroupForm())),
    section("What may a user do?", "As it is decided for every list and every call.", userPart(users.items, query.get("user"), signal)));
  replace(root, head, body);
}

function section(name, lead, content) {
  return h("section", { class: "access-section" }, h("h2", { text: name }), lead && h("p", { class: "muted", text: lead }), content);
}

function defaultForm(now) {
  const name = "access-default";
  const choices = Object.entries(ACCESS).map(([value, words]) => {
    const input = h("input", { type: "radio", name, value, checked: value === now });
    input.addEventListener("change", () => change(input).catch((error) => toast(error.message, { kind: "bad" })));
    return field(words, input);
  });
  const change = async (chosen) => {
    const isOpening = chosen.value === "open";
    const text = isOpening ? "Every user may then call every server and bundle that is not closed itself." : "Users then see nothing but what their groups are granted. What runs goes on.";
    const yes = await confirm(`${isOpening ? "Open" : "Close"} the hub by default?`, text, { label: isOpening ? "Open" : "Close", kind: "primary" });
    if (yes) {
      await patch("/v1/access", { default: chosen.value }).catch((error) => (show(now), Promise.reject(error)));
      now = chosen.value;
      toast("Saved.");
    }
    show(now);
  };
  const element = h("fieldset", { class: "card card-pad choices" }, h("legend", { class: "visually-hidden", text: "The default" }), choices);
  const show = (value) => element.querySelectorAll("input").forEach((input) => (input.checked = input.value === value));
  return element;
}

function groupsOf(items) {
  const columns = [
    { title: "Group", cell: nameCell },
    { title: "Members", class: "number", cell: (group) => (group.is_everyone ? "all" : number(group.members.length)) },
    { title: "Claims", cell: claimsCell },
    { title: "May", cell: grantsCell },
  ];
  return table({ columns, rows: items, key: (group) => group.id, label: "Groups" }).element;
}

function nameCell(group) {
  const made = link(`/access/${encodeURIComponent(group.name)}`, safe(group.name, { lines: 1, most: 64, button: false }));
  made.dataset.open = "";
  return h("span", { class: "named" }, made, group.is_everyone && h("span", { class: "badge tone-off badge-plain", text: "built in" }));
}

function claimsCell(group) {
  if (!group.claims.length) return h("span", { class: "muted", text: "–" });
  return h("code", {}, safe(group.claims.join(", "), { lines: 1, most: 60, button: false }));
}

function grantsCell(group) {
  if (!group.grants.length) return h("span", { class: "muted", text: "nothing beyond the default" });
  const shown = group.grants.slice(0, MOST_GRANTS).map((grant) => h("li", {}, levelBadge(grant.level), " ", safe(targetName(grant), { lines: 1, most: 70, button: false })));
  const left = group.grants.length - shown.length;
  return h("ul", { class: "grant-words" }, shown, left > 0 && h("li", { class: "muted small", text: `and ${number(left)} more` }));
}

function newGroupForm() {
  const name = h("input", { type: "text", required: true, pattern: NAME, maxlength: 64, autocomplete: "off", spellcheck: "false" });
  const wrong = h("div", {});
  const submit = button("Add group", async () => {
    if (!name.reportValidity()) return;
    replace(wrong);
    try {
      const group = await post("/v1/groups", { name: name.value.trim() });
      go(`/access/${encodeURIComponent(group.name)}`);
    } catch (error) {
      replace(wrong, failure(error));
    }
  });
  return h("form", { class: "token-form", on: { submit: (event) => (event.preventDefault(), submit.click()) } },
    field("New group", name, "Letters, digits and . _ @ -"), submit, wrong);
}

function userPart(users, chosen, signal) {
  if (!users.length) return h("p", { class: "muted" }, "There is no user yet: ", link("/users", "add one"), ".");
  const select = h("select", { name: "user" }, h("option", { value: "", text: "Choose a user" }), users.map((user) => h("option", { value: user.name, text: user.name })));
  const place = h("div", {});
  const show = () => replace(place, select.value && permissionsPanel(select.value, signal));
  select.value = users.some((user) => user.name === chosen) ? chosen : "";
  select.addEventListener("change", () => {
    setQuery({ user: select.value }, { quiet: true });
    show();
  });
  show();
  return h("div", { class: "stack" }, h("div", { class: "one-field" }, field("User", select)), place);
}
