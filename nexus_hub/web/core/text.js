// Text from elsewhere, shown harmlessly: nothing in it steers the page, the line or the eye.

import { h } from "./dom.js";
import { bytes } from "./format.js";

const MOST = 2000;
/** So much more is shown at a time: a browser lays out a megabyte of text slowly. */
const CHUNK = 50_000;
/**
 * Controls, bidi marks, what has no width, tags, and halves of a pair; not tab and line feed, nor the joiners of emoji
 * and of scripts other than Latin.
 */
export const UNSEEN = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}]|\p{Cs}|(?<![^\0-\x7F])[\u200C\u200D]/gu;

/**
 * Show hostile text: isolated, with its unseen characters made visible, and cut.
 * @param {any} text
 * @param {{lines?: number, most?: number, button?: boolean}} [options] `button`: offer to show all of what was cut
 * @returns {HTMLElement}
 */
export function safe(text, { lines = Infinity, most = MOST, button = true } = {}) {
  const whole = text === null || text === undefined ? "" : String(text);
  const end = cut(whole, lines, most);
  const shown = h("bdi", { class: lines === 1 ? "safe safe-line" : "safe", dir: "auto", text: visible(whole.slice(0, end)) });
  if (end >= whole.length) return shown;
  if (!button) return (shown.append("…"), shown);
  return h("span", { class: "safe-cut" }, shown, "… ", moreButton(whole, end, shown));
}

/** Write what can't be seen as signs for it: ⟨ESC⟩, and a bidi mark as ⟨U+202E⟩. @param {string} text */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (one) => {
    const code = one.codePointAt(0) ?? 0;
    return code === 0x1b ? "⟨ESC⟩" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** Find where to cut, never within a character. */
function cut(text, lines, most) {
  let end = Math.min(text.length, most);
  for (let at = -1, line = 0; line < lines; line++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0 || at >= end) break;
    if (line === lines - 1) end = at;
  }
  return isHigh(text, end - 1) && end < text.length ? end - 1 : end;
}

function isHigh(text, at) {
  const code = text.charCodeAt(at);
  return code >= 0xd800 && code < 0xdc00;
}

function moreButton(whole, end, shown) {
  const label = () => (whole.length - end > CHUNK ? `show more (${bytes(whole.length - end)} left)` : "show all");
  const more = h("button", { type: "button", class: "link", text: label() });
  more.addEventListener("click", (event) => {
    event.stopPropagation();
    let next = Math.min(whole.length, end + CHUNK);
    if (isHigh(whole, next - 1) && next < whole.length) next += 1;
    shown.append(visible(whole.slice(end, next)));
    shown.classList.remove("safe-line");
    end = next;
    more.previousSibling.data = end < whole.length ? "… " : "";
    more.textContent = label();
    if (end >= whole.length) more.remove();
  });
  return more;
}
