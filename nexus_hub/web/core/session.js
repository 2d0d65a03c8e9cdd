// The session of whoever looks at the page: asked for once, and kept until the log-out.

import { ApiError, del, get, logInFirst, post } from "./api.js";

/** The mark that a log-in took place here: without it nobody asks the hub for a session in vain. */
const MARK = "nexus-logged-in";

/** @typedef {{user: {id: string | null, name: string}, is_operator: boolean, expires_at: string, version: string, prefect_url: string | null}} Session */

/** @type {Promise<Session> | null} */
let kept = null;

/** Get the session. @returns {Promise<Session>} */
export function session() {
  kept ??= ask();
  kept.catch(() => (kept = null));
  return kept;
}

async function ask() {
  if (localStorage.getItem(MARK)) return get("/v1/session");
  logInFirst();
  throw new ApiError(401, "not-authenticated", "Log in first.");
}

/** Find out who is logged in already; null if nobody is. @returns {Promise<Session | null>} */
export async function current() {
  if (!localStorage.getItem(MARK)) return null;
  return get("/v1/session", undefined, { stay: true }).catch((error) => {
    if (error.status === 401) return null;
    throw error;
  });
}

/** Log in. @param {{token: string} | {code: string}} credential @returns {Promise<Session>} */
export async function logIn(credential) {
  const made = await post("/v1/session", credential, { stay: true });
  localStorage.setItem(MARK, made.user.id ?? "operator");
  kept = Promise.resolve(made);
  return made;
}

/** Have a function called once somebody has logged in in another tab, by a link say. @param {() => void} f @param {AbortSignal} signal */
export function onLogIn(f, signal) {
  addEventListener("storage", (event) => event.key === MARK && event.newValue && f(), { signal });
}

/** Load the page anew once somebody else has logged in in another tab: what it shows and asks is no longer for them. */
export function watchUser() {
  addEventListener("storage", (event) => {
    if (event.key === MARK && event.oldValue && event.newValue && event.oldValue !== event.newValue) location.reload();
  });
}

/** Log out, here and in the hub. */
export async function logOut() {
  await del("/v1/session", { stay: true }).catch((error) => {
    if (error.status !== 401) throw error;
  });
  forget();
}

/** Forget the session: the next one who asks for it asks the hub. */
export function forget() {
  kept = null;
  localStorage.removeItem(MARK);
}
