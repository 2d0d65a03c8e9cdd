// The clients of the TypeScript SDK: `v1` speaks 2025-11-25; `v2` both eras, of which the second argument names one.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [version, mode] = process.argv.slice(2);
const { CLIENT_URL, CLIENT_TOKEN, CLIENT_FOLDER, CLIENT_TAG, CLIENT_PACKAGES } = process.env;
const load = createRequire(join(CLIENT_PACKAGES, "index.js"));
const PATIENCE = 60_000;
const LONG_SECONDS = 8;

const isFirst = version === "v1";
const { Client } = load(isFirst ? "@modelcontextprotocol/sdk/client/index.js" : "@modelcontextprotocol/client");
const { StreamableHTTPClientTransport } = load(
  isFirst ? "@modelcontextprotocol/sdk/client/streamableHttp.js" : "@modelcontextprotocol/client",
);
const kinds = isFirst ? load("@modelcontextprotocol/sdk/types.js") : {};

let noteChange;
const changed = new Promise((resolve) => (noteChange = resolve));
const options = {
  capabilities: { elicitation: {} },
  listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => noteChange() } },
};
if (!isFirst) options.versionNegotiation = { mode: mode === "legacy" ? "legacy" : { pin: mode } };
const client = new Client({ name: "nexus-hub-tests", version: "1" }, options);
client.setRequestHandler(isFirst ? kinds.ElicitRequestSchema : "elicitation/create", async () => ({
  action: "accept",
  content: { colour: "blue" },
}));

function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function call(name, args, more = {}) {
  const params = { name: `lively__${name}`.replace("lively__hub__", "hub__"), arguments: args };
  const settings = { timeout: PATIENCE, ...more };
  const result = isFirst ? await client.callTool(params, undefined, settings) : await client.callTool(params, settings);
  return result.content.map((part) => part.text ?? "").join("\n");
}

async function file(ending) {
  while (!existsSync(join(CLIENT_FOLDER, `${CLIENT_TAG}.${ending}`))) await sleep(50);
}

async function names() {
  const found = [];
  let cursor;
  do {
    const page = await client.listTools(cursor === undefined ? undefined : { cursor });
    found.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

const looks = {
  list: async () => {
    const found = await names();
    check(found.includes("lively__echo") && found.includes("hub__job_wait"), found.join());
    return `${found.length} tools`;
  },
  call: () => call("echo", { text: "hello" }),
  progress: async () => {
    const told = [];
    await call("steps", { count: 3 }, { onprogress: (one) => told.push(one.progress) });
    check(told.join() === "1,2,3", told.join());
    return "3 of 3 steps";
  },
  cancel: async () => {
    const aborting = new AbortController();
    const waiting = call("wait", { seconds: 45, tag: CLIENT_TAG }, { signal: aborting.signal }).catch(() => {});
    await file("begun");
    aborting.abort();
    await Promise.all([waiting, file("cancelled")]);
    return "the server's call too";
  },
  elicitation: async () => {
    const answer = await call("ask", {});
    check(answer === "accept: blue", answer);
    return "asked, answered";
  },
  list_changed: async () => {
    await call("grow", { name: `grown-${CLIENT_TAG}` });
    await changed;
    check((await names()).includes(`lively__grown-${CLIENT_TAG}`), "the new tool is listed");
    return "told, listed";
  },
  "long call": async () => {
    const handle = await call("wait", { seconds: LONG_SECONDS, tag: `${CLIENT_TAG}-long` });
    const id = handle.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/);
    check(id, `no handle: ${handle.slice(0, 200)}`);
    let result = handle;
    while (result.includes("still runs")) result = await call("hub__job_wait", { id: id[0], seconds: 30 });
    check(result.includes(`waited ${LONG_SECONDS}.0 s`), result.slice(0, 200));
    return "handle, wait, result";
  },
};

const headers = { Authorization: `Bearer ${CLIENT_TOKEN}` };
await client.connect(new StreamableHTTPClientTransport(new URL(CLIENT_URL), { requestInit: { headers } }));
const seen = {};
for (const [name, look] of Object.entries(looks)) {
  const late = new AbortController();
  const patience = sleep(PATIENCE, undefined, { signal: late.signal }).then(() => Promise.reject(new Error("too long")));
  try {
    seen[name] = await Promise.race([look(), patience]);
  } catch (error) {
    seen[name] = `failed: ${String(error.message ?? error).split("\n")[0]}`;
  }
  patience.catch(() => {});
  late.abort();
}
console.log(JSON.stringify(seen));
process.exit(0);
