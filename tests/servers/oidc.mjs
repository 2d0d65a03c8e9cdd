/* An OAuth and OpenID issuer for tests: npm's oidc-provider, where everybody is signed in and consents at once.
   POST /_control changes how it behaves, GET /_control tells what it did: see tests/fixtures/oidc.py. */
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({ options: { port: { type: "string" }, modules: { type: "string" } } });
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null); // Node.js 20 lacks it
const { default: Provider } = await import(pathToFileURL(`${options.modules}/oidc-provider/lib/index.js`));

const ISSUER = `http://127.0.0.1:${options.port}`;
const SCOPES = "openid offline_access profile email tools:list tools:call jobs admin read write".split(" ");
const KINDS = { RS256: ["rsa", { modulusLength: 2048 }], ES256: ["ec", { namedCurve: "P-256" }], EdDSA: ["ed25519", {}] };
const KNOBS = {
  account: "ann", deny: false, access_seconds: 3600, refresh_seconds: 14 * 86400, refresh_tokens: true, rotate: true,
  fail_share: 0, lose_share: 0, delay_ms: 0, skew_seconds: 0, algorithm: "RS256", registration: true, metadata: true,
  default_resource: null, claims: {}, documents: {},
};
const knobs = structuredClone(KNOBS);
const counted = { exchanges: new Map(), requests: {}, failed: 0, lost: 0, at_once: 0, most_at_once: 0 };
const shares = { fail_share: 0, lose_share: 0 };
let stored = new Map();
let keys = Object.keys(KINDS).map(newKey);

function newKey(alg) {
  const { privateKey } = generateKeyPairSync(...KINDS[alg]);
  return { ...privateKey.export({ format: "jwk" }), alg, use: "sig" };
}

/** Keeps what the provider stores, without the bound of its own adapter. */
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  find(id) { return stored.get(this.key(id)); }
  upsert(id, payload) { stored.set(this.key(id), payload); }
  destroy(id) { stored.delete(this.key(id)); }
  consume(id) { this.find(id).consumed = Math.floor(Date.now() / 1000); }
  findByUid(uid) { return [...stored.values()].find((one) => one.kind === this.model && one.uid === uid); }
  revokeByGrantId(grant) {
    for (const [key, one] of stored) if (key.startsWith(`${this.model}:`) && one.grantId === grant) stored.delete(key);
  }
}

/** Consents to all that a client asks for: each login is a grant of its own. */
async function consent(ctx) {
  const { client, session, params } = ctx.oidc;
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope([...ctx.oidc.requestParamScopes].join(" "));
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, SCOPES.join(" "));
  await grant.save();
  return grant;
}

function resourceServer(ctx, resource) {
  return {
    scope: SCOPES.join(" "), audience: resource, accessTokenTTL: knobs.access_seconds, accessTokenFormat: "jwt",
    jwt: { sign: { alg: knobs.algorithm } },
  };
}

/** Reads a client's metadata document: from the knob `documents` (the document, or where it is), else from its address. */
async function fetchDocument(url, { dispatcher, ...rest }) {
  const known = knobs.documents[String(url)];
  if (known instanceof Object) return Response.json(known);
  return fetch(known ?? url, rest);
}

let provider = build();

function build() {
  const made = new Provider(ISSUER, {
    adapter: Store,
    jwks: { keys },
    scopes: SCOPES,
    cookies: { keys: ["tests"] },
    clientBasedCORS: () => true,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...knobs.claims[sub] }) }),
    extraTokenClaims: (_, token) => knobs.claims[token.accountId ?? token.clientId],
    loadExistingGrant: consent,
    expiresWithSession: () => false,
    issueRefreshToken: (_, client) => knobs.refresh_tokens && client.grantTypeAllowed("refresh_token"),
    rotateRefreshToken: () => knobs.rotate,
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/_interaction/${interaction.uid}` },
    fetch: fetchDocument,
    formats: { customizers: { jwt: (_, token, { payload }) => {
      payload.iat += knobs.skew_seconds;
      payload.exp += knobs.skew_seconds;
    } } },
    ttl: { RefreshToken: () => knobs.refresh_seconds, AccessToken: () => knobs.access_seconds },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      userinfo: { enabled: true },
      registration: { enabled: true },
      clientIdMetadataDocument: { enabled: true, ack: "draft-02", cacheDuration: { min: 1, max: 1 } },
      resourceIndicators: {
        enabled: true, useGrantedResource: () => true, getResourceServerInfo: resourceServer,
        defaultResource: (_, client, oneOf) => oneOf ?? knobs.default_resource ?? undefined,
      },
    },
  });
  made.on("grant.success", (ctx) => count(ctx, "ok"));
  made.on("grant.error", (ctx, error) => count(ctx, error.error));
  made.on("server_error", (_, error) => console.error(error));
  return made;
}

function count(ctx, outcome) {
  const { client, params, entities } = ctx.oidc;
  const key = JSON.stringify([params?.grant_type, client?.clientId ?? null, entities.Account?.accountId ?? null, outcome]);
  counted.exchanges.set(key, (counted.exchanges.get(key) ?? 0) + 1);
}

/** Whether this exchange is one of the knob's share: evenly, so that half is every second one. */
function due(name) {
  shares[name] += knobs[name];
  if (shares[name] < 1) return false;
  shares[name] -= 1;
  return true;
}

async function signIn(req, res) {
  const { prompt, params } = await provider.interactionDetails(req, res);
  const denied = { error: "access_denied", error_description: "the person said no" };
  const login = { login: { accountId: params.login_hint ?? knobs.account } };
  await provider.interactionFinished(req, res, knobs.deny ? denied : prompt.name === "login" ? login : { consent: {} });
}

async function exchange(req, res) {
  counted.most_at_once = Math.max(counted.most_at_once, ++counted.at_once);
  res.on("close", () => { counted.at_once -= 1; });
  if (knobs.delay_ms) await new Promise((resolve) => { setTimeout(resolve, knobs.delay_ms); });
  if (due("fail_share")) {
    counted.failed += 1;
    return answer(res, 500, { error: "server_error" });
  }
  if (due("lose_share")) loseAnswer(res);
  return provider.callback()(req, res);
}

/** Lets the exchange happen, and its answer be a 500. */
function loseAnswer(res) {
  counted.lost += 1;
  const end = res.end.bind(res);
  res.end = () => {
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    res.statusCode = 500;
    end("lost");
  };
}

const ACTIONS = {
  reset() {
    Object.assign(knobs, structuredClone(KNOBS));
    Object.assign(counted, { exchanges: new Map(), requests: {}, failed: 0, lost: 0, most_at_once: counted.at_once });
    Object.assign(shares, { fail_share: 0, lose_share: 0 });
  },
  new_keys(kept) {
    keys = [...Object.keys(KINDS).map(newKey), ...(kept === "keep" ? keys : [])];
    provider = build();
  },
  drop(models) {
    for (const key of stored.keys()) if (models.includes(key.split(":")[0])) stored.delete(key);
  },
  clients(clients) { for (const one of clients) stored.set(`Client:${one.client_id}`, one); },
};

function steer(wanted) {
  for (const [name, act] of Object.entries(ACTIONS)) if (wanted[name]) act(wanted[name]);
  for (const [name, value] of Object.entries(wanted)) {
    if (name in KNOBS) knobs[name] = value;
    else if (!(name in ACTIONS)) throw new Error(`no such knob: ${name}`);
  }
}

function tell() {
  const exchanges = [...counted.exchanges].map(([key, times]) => {
    const [grant, client, account, outcome] = JSON.parse(key);
    return { grant, client, account, outcome, count: times };
  });
  return { ...counted, exchanges, knobs };
}

function answer(res, status, body) {
  res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function control(req, res) {
  let text = "";
  for await (const piece of req) text += piece;
  steer(JSON.parse(text || "{}"));
  answer(res, 200, tell());
}

async function serve(req, res) {
  const { pathname } = new URL(req.url, ISSUER);
  if (pathname === "/_control") return control(req, res);
  counted.requests[pathname] = (counted.requests[pathname] ?? 0) + 1;
  if (pathname.startsWith("/_interaction/")) return signIn(req, res);
  if (pathname === "/token" && req.method === "POST") return exchange(req, res);
  if (pathname === "/reg" && !knobs.registration) return answer(res, 404, {});
  if (pathname.startsWith("/.well-known/") && !knobs.metadata) return answer(res, 404, {});
  return provider.callback()(req, res);
}

createServer((req, res) => {
  serve(req, res).catch((error) => (res.headersSent ? res.destroy() : answer(res, 400, { error: String(error) })));
}).listen(Number(options.port), "127.0.0.1");
