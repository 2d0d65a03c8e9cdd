"""What does authentication cost a call: with an API token, with a token of the hub's own log-in, and with a JWT?

Each is compared with the same call sent with the operator's key, which is compared in memory and looked up nowhere. The
ways take turns, one call at a time, over connections that stay open: their ratio counts, not the milliseconds. The cost
in pairs is the median of the differences between calls of the same turn. A hub trusts a token for five seconds after it
was verified; "a new one each call" shows what that first call costs. The issuer of the JWTs runs in this process; its
keys are read once and then kept.
"""

import argparse
import asyncio
import gc
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.gateway import add, script, timed
from benchmarks.processes import reachable
from benchmarks.report import machine, percentile, publish, table
from benchmarks.wire import ERAS, Caller
from tests.fixtures.connectors import ClaudeCodeConnector
from tests.fixtures.hub import Hub, kept_up
from tests.fixtures.people import HubUser
from tests.fixtures.upstreams import free_port

KEY, TOKEN, BUILT_IN, JWT = "the operator's key", "API token", "token of the hub's log-in", "JWT of an issuer"
NEW = "JWT, a new one each call"
TOOL = "bench__echo"
WARM_UPS = 20
SECONDS = 3600
TARGET = 5
"""Percent of a direct call that authentication may cost."""
Tokens = Iterator[str]


@dataclass
class Issuer:
    """An issuer of JWTs: its address, its key, and the resource for which its tokens are."""

    url: str
    resource: str
    key: rsa.RSAPrivateKey = field(default_factory=partial(rsa.generate_private_key, 65537, 2048))

    def token(self) -> str:
        """Make a token of the user ann."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.resource, "sub": "ann", "iat": now, "exp": now + SECONDS}
        said = {"scope": "tools:list tools:call", "jti": secrets.token_hex(8)}
        return jwt.encode(claims | said, self.key, "RS256", headers={"kid": "1", "typ": "at+jwt"})

    def documents(self) -> dict[str, Any]:
        """Give what the issuer publishes, by paths."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        metadata = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
        }
        return {
            "/.well-known/oauth-authorization-server": metadata,
            "/.well-known/openid-configuration": metadata,
            "/jwks": {"keys": [key | {"kid": "1", "use": "sig", "alg": "RS256"}]},
        }

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        document = self.documents().get(head.split(b" ", 2)[1].decode())
        body = json.dumps(document).encode()
        status = "404 Not Found" if document is None else "200 OK"
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def issuing(issuer: Issuer) -> AsyncIterator[Issuer]:
    """Serve the issuer's documents for a while."""
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", httpx.URL(issuer.url).port)
    async with server:
        yield issuer


def always(token: str) -> Tokens:
    """Give the same token for ever."""
    while True:
        yield token


def anew(make: Callable[[], str]) -> Tokens:
    """Give a token after the other, all made before the calls."""
    while True:
        yield from [make() for _ in range(100)]


async def log_in(hub: Hub, token: str) -> str:
    """Log in as a connector does; the access token."""
    async with httpx.AsyncClient() as http, httpx.AsyncClient() as browser:
        connector = ClaudeCodeConnector(http, f"{hub.url}/mcp", dcr_only=True)
        await connector.connect(HubUser(browser, hub.url, token))
        return str(connector.tokens["access_token"])


async def measure(hub: Hub, ways: dict[str, Tokens], rounds: int, calls: int) -> dict[str, dict[str, list[float]]]:
    """Call with each kind of token in turns, in both eras; the seconds by era and way."""
    found: dict[str, dict[str, list[float]]] = {era: {name: [] for name in ways} for era in ERAS}
    async with AsyncExitStack() as stack:
        for era in ERAS:
            callers = {
                name: await stack.enter_async_context(Caller(f"{hub.url}/mcp", era, next(tokens)))
                for name, tokens in ways.items()
            }
            names = list(callers)
            for number in range(WARM_UPS + rounds * calls):
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    caller = callers[name]
                    caller.present(next(ways[name]))
                    took = await timed(caller, TOOL, number)
                    if number >= WARM_UPS:
                        found[era][name].append(took)
            sys.stderr.write(f"{', '.join(ways)}: {era}\n")
    return found


def rows(found: dict[str, dict[str, list[float]]]) -> list[list[str]]:
    """Make the rows of a table out of what was measured."""
    made = []
    for era, ways in found.items():
        base = percentile(ways[KEY], 50)
        for name, seconds in ways.items():
            shown = [f"{percentile(seconds, percent) * 1000:.2f} ms" for percent in (50, 99)]
            more = median(own - key for own, key in zip(seconds, ways[KEY], strict=True))
            costs = [f"{(percentile(seconds, 50) / base - 1) * 100:+.1f}%", f"{more / base * 100:+.1f}%"]
            made.append([era, name, str(len(seconds)), *shown, *(["-", "-"] if name == KEY else costs)])
    return made


HEAD = ["protocol", "token", "calls", "p50", "p99", "cost at p50", "cost in pairs"]


async def with_own_login(hub: Hub, asked: argparse.Namespace) -> list[list[str]]:
    """Measure a hub that is its own authorization server."""
    async with script("echo.py") as upstream:
        add(hub, "bench", upstream.url)
        token = hub.user("ann")
        ways = {KEY: always(hub.key), TOKEN: always(token), BUILT_IN: always(await log_in(hub, token))}
        return rows(await measure(hub, ways, asked.rounds, asked.calls))


async def with_issuer(hub: Hub, issuer: Issuer, asked: argparse.Namespace) -> list[list[str]]:
    """Measure a hub that takes an issuer's JWTs."""
    async with script("echo.py") as upstream, issuing(issuer):
        add(hub, "bench", upstream.url)
        token = hub.user("ann")
        mapped = hub.run("user", "map", "ann", "--subject", "ann")
        assert mapped.code == 0, mapped.err
        ways = {KEY: always(hub.key), TOKEN: always(token), JWT: always(issuer.token()), NEW: anew(issuer.token)}
        return rows(await measure(hub, ways, asked.rounds, asked.calls))


def main() -> None:
    """Start a hub with each kind of log-in, measure, and stop it."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=4, help="how often the calls below are made")
    options.add_argument("--calls", type=int, default=250, help="calls of each way and era in a round")
    options.add_argument("--show", action="store_true", help="only show the result")
    asked = options.parse_args()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as place:
        directory = reachable(place)
        with kept_up(Hub(directory / "own", free_port(), free_port())) as hub:
            own, on = asyncio.run(with_own_login(hub, asked)), machine(hub.app_url)
        port = free_port()
        issuer = Issuer(f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{port}/mcp")
        known = {"NEXUS_ISSUER": issuer.url, "NEXUS_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        with kept_up(Hub(directory / "outside", port, free_port(), known)) as hub:
            outside = asyncio.run(with_issuer(hub, issuer, asked))
    parts = [f"# {(__doc__ or '').strip()}", "## The hub's own log-in", table(HEAD, own)]
    parts += ["## An outside issuer", table(HEAD, outside), f"Target: at most {TARGET}% of a direct call.", on]
    text = "\n\n".join(parts) + "\n"
    if asked.show:
        sys.stdout.write(text)
    else:
        publish("authentication", text)


if __name__ == "__main__":
    main()
