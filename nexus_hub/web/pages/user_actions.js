// What an operator does to a user.

import { del } from "../core/api.js";
import { number } from "../core/format.js";
import { confirm, toast } from "../core/parts.js";

/** Take back all that lets a user in, once that is confirmed. @param {string} name @returns {Promise<boolean>} true if it is done */
export async function revokeAll(name) {
  const text = `All tokens and sign-in links of ${name} stop working at once; log-ins end, and clients that ${name} let in are shut out. `
    + "Jobs that run go on. This can’t be undone; give a new token afterwards.";
  if (!(await confirm(`Revoke all that lets ${name} in?`, text, "Revoke"))) return false;
  const { revoked } = await del(`/v1/users/${encodeURIComponent(name)}/tokens`);
  toast(`${number(revoked)} ${revoked === 1 ? "token" : "tokens"} revoked.`);
  return true;
}
