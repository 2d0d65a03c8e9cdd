// Requests to the hub's JSON API.

import { go, here } from "./router.js";

/** A problem that the API answered with, or that kept it from answering (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} problem */
  constructor(status, code, message, problem = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.problem = problem;
    /** @type {number | null} Seconds after which it may be tried again. */
    this.retryAfter = null;
  }
}

/** @param {string} path @param {Record<string, any>} [params] @param {Options} [options] */
export function get(path, params, options) {
  return ask("GET", path + query(params), undefined, options);
}

/** @param {string} path @param {any} [body] @param {Options} [options] */
export function post(path, body, options) {
  return ask("POST", path, body, options);
}

/** @param {string} path @param {any} body @param {Options} [options] */
export function put(path, body, options) {
  return ask("PUT", path, body, options);
}

/** @param {string} path @param {any} body @param {Options} [options] */
export function patch(path, body, options) {
  return ask("PATCH", path, body, options);
}

/** @param {string} path @param {Options} [options] */
export function del(path, options) {
  return ask("DELETE", path, undefined, options);
}

/**
 * @typedef {{signal?: AbortSignal, text?: boolean, stay?: boolean}} Options
 * `text`: give the answer as it was sent. `stay`: a 401 is an error like others.
 */

/** @param {string} method @param {string} path @param {any} body @param {Options} [options] */
async function ask(method, path, body, { signal, text = false, stay = false } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const asked = { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" };
  const answer = await fetch(path, asked).catch((error) => {
    throw error.name === "AbortError" ? error : new ApiError(0, "unreachable", "The hub does not answer.");
  });
  if (!answer.ok) throw await toError(answer, stay);
  const sent = await answer.text();
  if (text) return sent;
  return sent === "" ? null : JSON.parse(sent);
}

/** @param {Response} answer @param {boolean} stay */
async function toError(answer, stay) {
  const problem = await answer.json().catch(() => null);
  if (answer.status === 401 && !stay) logInFirst();
  const message = problem?.error ?? problem?.detail ?? `The hub answered ${answer.status}.`;
  const error = new ApiError(answer.status, problem?.code ?? "http-error", String(message), problem);
  const seconds = Number(answer.headers.get("Retry-After"));
  error.retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds : null;
  return error;
}

/** Go to the log-in page, and from there back to this one. */
export function logInFirst() {
  localStorage.removeItem("nexus-logged-in");
  if (location.pathname !== "/login") go(`/login?next=${encodeURIComponent(here())}`, { replace: true });
}

/** @param {Record<string, any>} [params] Those that are null or empty are left out. */
export function query(params) {
  const kept = Object.entries(params ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept.map(([name, value]) => [name, String(value)]))}` : "";
}
