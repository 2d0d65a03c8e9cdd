// Runs a server's regular expression apart from the page, which can end it.

addEventListener("message", ({ data: { pattern, text } }) => {
  postMessage(matches(pattern, text));
});

function matches(pattern, text) {
  for (const flags of ["u", ""]) {
    try {
      return new RegExp(pattern, flags).test(text);
    } catch {
      // Not in this dialect.
    }
  }
  return undefined;
}
