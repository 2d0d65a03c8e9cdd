// Regular expressions of servers, run with an end: one of them may take for ever.

const PATIENCE_MS = 400;

/**
 * Tell if a text matches a pattern somewhere; null if that can't be said in time, undefined if the pattern is none.
 * @param {string} pattern @param {string} text
 * @returns {Promise<boolean | null | undefined>}
 */
export function matches(pattern, text) {
  return new Promise((resolve) => {
    const worker = new Worker(new URL("./pattern_worker.js", import.meta.url));
    const end = (answer) => {
      clearTimeout(timer);
      worker.terminate();
      resolve(answer);
    };
    const timer = setTimeout(() => end(null), PATIENCE_MS);
    worker.addEventListener("message", ({ data }) => end(data));
    worker.addEventListener("error", () => end(undefined));
    worker.postMessage({ pattern, text });
  });
}
