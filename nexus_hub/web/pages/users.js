// The users: add one, give a token that is shown once, take all tokens back; each has a page of its own.
import { get, post } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number, time } from "../core/format.js";
import { link } from "../core/router.js";
import { button, empty, failure, field, page, table } from "../core/parts.js";
import { safe } from "../core/text.js";
import { handover } from "./handover.js";
import { revokeAll } from "./user_actions.js";

const NAME = "[A-Za-z0-9][A-Za-z0-9._@\\-]{0,63}";

/** Name the page. */
export const title = () => "Users";

/** Show the users and the form that adds one. */
export async function render(root, { signal }) {
  const given = h("div", { class: "given", "aria-live": "polite" });
  const list = h("div", {});
  const { head, body } = page(title(), {
    lead: "A user has own servers, jobs and results, which no other user sees. A token is a user’s way in: for clients and for this console.",
  });
  body.append(form(async (name) => {
    const user = await post("/v1/users", { name });
    await give(user.name);
    await reload();
  }), given, list);
  root.append(head, body);

  const users = table({
    columns: columns({
      renew: async (user) => {
        await give(user.name);
        await reload();
      },
      revoke: async (user) => {
        if (await revokeAll(user.name)) await reload();
      },
    }),
    key: (user) => user.id,
    label: "Users",
    empty: empty("There is no user yet", "Add the first one above. Until then the operator alone works here, with the service key."),
  });
  const give = async (name) => {
    const { token } = await post(`/v1/users/${encodeURIComponent(name)}/tokens`);
    replace(given, handover(name, token, () => replace(given)));
    given.querySelector("h2").focus();
  };
  const reload = async () => {
    try {
      users.update((await get("/v1/users", {}, { signal })).items);
      replace(list, users.element);
    } catch (error) {
      if (!signal.aborted) replace(list, failure(error, reload));
    }
  };
  await reload();
}

const columns = ({ renew, revoke: takeBack }) => [
  { title: "Name", cell: nameCell },
  { title: "Tokens", class: "number", cell: (user) => number(user.tokens) },
  { title: "Open jobs", class: "number", cell: (user) => openJobs(user) },
  { title: "Last used", cell: (user) => (user.last_used_at ? time(user.last_used_at) : h("span", { class: "muted", text: "never" })) },
  { title: "Added", cell: (user) => time(user.created_at) },
  {
    title: "Actions",
    class: "actions",
    cell: (user) => h("div", { class: "cell" },
      button("New token", () => renew(user), { "aria-label": `New token for ${user.name}` }),
      user.tokens
        ? button("Revoke", () => takeBack(user), { kind: "danger", "aria-label": `Revoke the tokens of ${user.name}` })
        : null),
  },
];

function nameCell(user) {
  const made = link(`/users/${encodeURIComponent(user.name)}`, safe(user.name, { lines: 1, button: false }));
  made.dataset.open = "";
  return made;
}

function openJobs(user) {
  if (user.open_jobs === undefined) return "–";
  const query = new URLSearchParams({ user: user.name });
  return user.open_jobs ? link(`/jobs?${query}`, number(user.open_jobs)) : number(0);
}

function form(add) {
  const name = h("input", { type: "text", required: true, pattern: NAME, maxlength: 64, autocomplete: "off", spellcheck: "false" });
  const error = h("div", {});
  const send = async () => {
    if (!name.reportValidity()) return;
    replace(error);
    try {
      await add(name.value.trim());
      name.value = "";
    } catch (refusal) {
      replace(error, failure(refusal));
    }
  };
  const submit = button("Add user", send, { kind: "primary" });
  return h("form", { class: "row", on: { submit: (event) => { event.preventDefault(); submit.click(); } } },
    field("Name", name, "Letters, digits and . _ @ -"), submit, error);
}
