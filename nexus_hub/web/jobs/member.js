// A member of a JSON object as the text that was sent, however large.

/**
 * Find the text of a member of the outermost object; null if there is none.
 * @param {string} text @param {string} name @returns {string | null}
 */
export function memberText(text, name) {
  let at = text.indexOf("{") + 1;
  while (at > 0 && at < text.length) {
    const open = text.indexOf('"', at);
    if (open < 0) return null;
    const close = endOfString(text, open);
    const start = skipSpace(text, text.indexOf(":", close) + 1);
    const end = endOfValue(text, start);
    if (text.slice(open + 1, close) === name) return text.slice(start, end).trimEnd();
    at = end + 1;
  }
  return null;
}

function skipSpace(text, at) {
  while (text.charCodeAt(at) <= 32) at += 1;
  return at;
}

/** Find the quote that ends a string. */
function endOfString(text, open) {
  for (let at = text.indexOf('"', open + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === 92) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return text.length;
}

/** Find the end of a value: after its last bracket or quote, or before the comma or bracket that follows. */
function endOfValue(text, start) {
  const inner = /["[\]{},]/g;
  let depth = 0;
  inner.lastIndex = start;
  for (let found = inner.exec(text); found; found = inner.exec(text)) {
    const sign = found[0];
    if (sign === '"') {
      inner.lastIndex = endOfString(text, found.index) + 1;
      if (!depth) return inner.lastIndex;
    } else if (sign === "{" || sign === "[") depth += 1;
    else if (sign === ",") {
      if (!depth) return found.index;
    } else {
      if (!depth) return found.index;
      depth -= 1;
      if (!depth) return found.index + 1;
    }
  }
  return text.length;
}
