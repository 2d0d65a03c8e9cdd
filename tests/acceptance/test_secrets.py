"""A canary in everything that may be secret, and nowhere to be found where secrets must not be.

Given to the API and to `nexus-hub`: a header's value, a child's environment, a URL's query, tool arguments, a result;
the vault's own keys, after a rotation; and codes, verifiers, tokens and secrets, right ones and wrong ones: those that
clients and the hub's own log-in exchange, and those that the hub and a talkative upstream exchange. Looked for, also in
base64, in hex, percent-encoded and in what is gzipped or pickled: Prefect's database, PREFECT_HOME, all logs at their
most talkative, all errors, the listings, and in the hub's own database the columns that are not the job's.
"""

import asyncio
import base64
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

import psycopg
import pytest
from psycopg import sql

from nexus_hub.home.layout import Home
from tests.fixtures.canary_logins import CANARY, log_in, log_in_upstream
from tests.fixtures.hub import Hub, Ran, any_hub

pytestmark = pytest.mark.stack
TALKATIVE = {"NEXUS_LOG_FORMAT": "json", "NEXUS_LOG_LEVEL": "debug"}
UPSTREAM = Path(__file__).parents[1] / "upstreams" / "canary.py"
MODERN = "2026-07-28"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "canary", "version": "1"},
    },
}
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_PERCENT = re.compile(rb"(?:%[0-9A-Fa-f]{2}){4}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}){12,}")


def forms(data: bytes, depth: int = 4) -> Iterator[bytes]:
    """Bytes as they are, and as whatever they may be an encoding of."""
    yield data
    if depth == 0:
        return
    for run in _BASE64.findall(data):
        padded = run.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = padded[start:]
            yield from forms(base64.b64decode(part[: len(part) - (len(part) % 4 == 1)] + b"==="), depth - 2)
    if _PERCENT.search(data):
        yield from forms(unquote_to_bytes(data), depth - 1)
    for run in _HEX.findall(data):
        yield from forms(bytes.fromhex(run.decode()[: len(run) // 2 * 2]), depth - 2)
    try:
        unpacked = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(data)
    except zlib.error:
        return
    yield from forms(unpacked, depth - 1)


def shows(data: bytes, needles: Iterable[bytes] = (CANARY.encode(),)) -> bool:
    """Whether the canary, or another needle, is in it, in whatever form."""
    return any(needle in form for form in forms(data) for needle in needles)


@dataclass
class Given:
    """A hub that was given canaries in every way, what its commands said, and the secrets that it has made."""

    hub: Hub
    ran: list[Ran] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    @property
    def needles(self) -> list[bytes]:
        """The canary, the secrets, and the vault's keys as bytes: their hex and base64 are forms of them."""
        ring = json.loads((self.hub.home / "keyring.json").read_text())
        keys = (bytes.fromhex(key) for key in (ring["primary"], *ring["others"]))
        return [CANARY.encode(), *(secret.encode() for secret in sorted(self.secrets)), *keys]


def test_the_search_finds_a_canary_in_every_encoding() -> None:
    plain = f'{{"a": "{CANARY}"}}'.encode()
    encoded = [plain, base64.b64encode(plain), base64.urlsafe_b64encode(b"x" + plain), plain.hex().encode()]
    encoded += ["".join(f"%{one:02x}" for one in plain).encode()]
    encoded += [gzip.compress(plain), zlib.compress(plain), base64.b64encode(gzip.compress(plain))]
    assert all(shows(one) for one in encoded)
    key = bytes(range(1, 33))
    assert all(shows(one, [key]) for one in (key, key.hex().encode(), base64.b64encode(key), gzip.compress(key)))
    assert not shows(b"nothing here")


@pytest.fixture(scope="module")
def given(request: pytest.FixtureRequest) -> Iterator[Given]:
    """A hub of its own, with all of that."""
    with any_hub(request, **TALKATIVE) as hub:
        made = Given(hub)
        made.ran += _give_canaries(hub)
        made.ran += asyncio.run(log_in(hub, made.secrets))
        made.ran += asyncio.run(log_in_upstream(hub, made.secrets))
        yield made


def _give_canaries(hub: Hub) -> Iterator[Ran]:
    command = (sys.executable, str(UPSTREAM), f"--token={CANARY}-argument")
    yield hub.run("server", "add", "echo", "--env", f"TOKEN={CANARY}-environment", "--command", *command)
    yield hub.run(
        "server",
        "add",
        "gone",
        "--header",
        f"Authorization=Bearer {CANARY}-header",
        "--url",
        f"http://user:{CANARY}@127.0.0.1:9/mcp?key={CANARY}-query",
    )
    yield hub.run("server", "add", "bad name", "--header", f"{CANARY}", "--url", "http://127.0.0.1:9/mcp")
    yield hub.run("server", "list")
    yield hub.run("server", "show", "echo", "--json")
    for tool in ("say", "fail", "raise", "die"):
        called = hub.run("call", f"echo__{tool}", "-", stdin=json.dumps({"text": f"{CANARY}-{tool}"}))
        yield Ran(called.code, "the result is for the caller", called.err if tool != "raise" else "so is the refusal")
    yield hub.run("call", "echo__say", json.dumps({"text": [f"{CANARY}-wrong-type"]}))
    yield hub.run("call", "echo__say", json.dumps({CANARY: "unknown property", "text": "x"}))
    yield hub.run("call", "echo__say", f"{{not json {CANARY}")
    yield hub.run("call", "echo__say", "-a", CANARY)
    with hub.api() as api:
        for path, body in (
            ("/v1/jobs", {"name": "echo__say", "arguments": {"text": 1, "other": CANARY}}),
            ("/v1/jobs", {"name": "echo__say", "arguments": CANARY}),
            ("/v1/jobs", {"name": "echo__say", "argument": {"text": CANARY}}),
            ("/v1/servers", {"name": "x", "url": 7, "headers": {"Authorization": CANARY}}),
            ("/v1/servers", {"name": "x", "url": "http://127.0.0.1:9/", "headers": {"Authorization": [CANARY]}}),
            ("/v1/servers", {"name": "x", "url": f"nonsense://{CANARY}/"}),
        ):
            answer = api.post(path, json=body)
            assert answer.is_error, path
            yield Ran(answer.status_code, answer.text, "")
        answer = api.post("/v1/jobs", content=f'{{"name": "{CANARY}', headers={"Content-Type": "application/json"})
        yield Ran(answer.status_code, answer.text, "")
    yield from _give_to_mcp(hub)
    yield from _give_keys(hub)
    with hub.api("x" + CANARY) as api:
        yield Ran(api.get("/v1/jobs").status_code, api.get("/v1/jobs").text, "")


def _give_to_mcp(hub: Hub) -> Iterator[Ran]:
    """Call in both eras of the protocol; what is asked for wrongly answers without it."""
    both = {"Accept": "application/json, text/event-stream"}
    meta: dict[str, object] = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "vendor/secret": CANARY,
    }
    with hub.api() as api:
        opened = api.post("/mcp", json=INITIALIZE, headers=both)
        session = both | {"Mcp-Session-Id": opened.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        api.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
        for tool in ("say", "fail", "raise", "die"):
            name = f"echo__{tool}"
            call = {"name": name, "arguments": {"text": f"{CANARY}-{tool}"}, "_meta": meta}
            named = both | {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name}
            for headers in (named, session):
                answer = api.post("/mcp", json=_message("tools/call", call), headers=headers)
                assert answer.status_code == 200, answer.text
                assert tool != "say" or f"{CANARY}-say" in answer.text
        named |= {"Mcp-Name": "echo__say"}
        for params in (
            {"name": "echo__say", "arguments": {"text": [CANARY]}, "_meta": meta},
            {"name": "echo__say", "arguments": {"text": 1, "other": CANARY}, "_meta": meta},
            {"name": "echo__say", "arguments": CANARY, "_meta": meta},
            {"name": "echo__say", "arguments": {"text": "x"}, "requestState": CANARY, "_meta": meta},
            {"name": "echo__say", "arguments": {"text": "x"}, "_meta": CANARY},
        ):
            for headers in (named, session):
                answer = api.post("/mcp", json=_message("tools/call", params), headers=headers)
                if '"isError":false' not in answer.text:  # a result is for the caller
                    yield Ran(answer.status_code, answer.text, "")
        for method, params in (
            ("tools/list", {"cursor": CANARY, "_meta": meta}),
            ("completion/complete", {"ref": CANARY, "argument": {"name": "x", "value": CANARY}, "_meta": meta}),
        ):
            for headers in (named | {"Mcp-Method": method}, session):
                answer = api.post("/mcp", json=_message(method, params), headers=headers)
                assert answer.is_error or "error" in answer.text, method
                yield Ran(answer.status_code, answer.text, "")
        answer = api.post("/mcp", content=f'{{"jsonrpc": "{CANARY}', headers=session)
        yield Ran(answer.status_code, answer.text, "")
        answer = api.post(
            "/mcp", json=INITIALIZE, headers=both | {"Mcp-Session-Id": CANARY, "Origin": f"http://{CANARY}"}
        )
        yield Ran(answer.status_code, answer.text, "")


def _message(method: str, params: Mapping[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def _give_keys(hub: Hub) -> Iterator[Ran]:
    """Rotate, and send keys where only their ids belong."""
    yield hub.run("vault", "keygen", "--add")
    yield hub.run("vault", "rotate")
    yield hub.run("vault", "status")
    key = json.loads((hub.home / "keyring.json").read_text())["others"][0]
    yield hub.run("vault", "rotate", "--to", key)
    with hub.api() as api:
        for body in ({"new_key_hex": key}, {"new_key_id": key}, {"old_key_id": key}):
            answer = api.post("/internal/vault-rotate", json=body)
            assert answer.is_error
            yield Ran(answer.status_code, answer.text, "")
    with hub.prefect() as prefect:
        found = prefect.get("/deployments/name/rotate-vault-key/rotate-vault-key").json()["id"]
        refused = prefect.post(f"/deployments/{found}/create_flow_run", json={"parameters": {"new_key_id": key}})
        assert refused.status_code == 409, "Prefect tells who sent it, and stores nothing"


def test_no_error_and_no_listing_shows_it(given: Given) -> None:
    needles = given.needles
    for ran in given.ran:
        assert not shows(ran.out.encode(), needles), ran
        assert not shows(ran.err.encode(), needles), ran


def test_no_log_and_no_file_of_prefects_shows_it(given: Given) -> None:
    hub, needles = given.hub, given.needles
    files = [path for folder in ("logs", "prefect", "run") for path in (hub.home / folder).rglob("*") if path.is_file()]
    assert files
    shown = [path for path in files if "ui" not in path.parts and shows(path.read_bytes(), needles)]
    assert not shown, [(path, path.read_bytes()[:2000]) for path in shown]


def test_the_logs_tell_what_was_done(given: Given) -> None:
    logs = given.hub.home / "logs"
    written = [line for name in ("api", "worker") for line in (logs / f"{name}.log").read_text().splitlines()]
    lines = [json.loads(line) for line in written if not line.startswith("--- ")]
    events = {line["event"] for line in lines if "event" in line}
    assert events >= {"stored", "dispatched", "claimed", "called", "ended", "refused", "answered", "rotated"}
    assert {line["tool"] for line in lines if line.get("event") == "stored"} == {"say", "fail", "raise", "die", "look"}


def test_prefects_database_does_not_hold_it(given: Given) -> None:
    hub, needles = given.hub, given.needles
    with psycopg.connect(hub.prefect_database_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))).fetchall()
            shown = [row for (row,) in rows if shows(row.encode(), needles)]
            assert not shown, (table, shown[0][:2000])
        runs = connection.execute("SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'").fetchone()
    assert runs is not None
    assert runs[0] >= 2, "the jobs ran through this Prefect"


def test_the_hubs_database_holds_it_only_in_jobs_and_only_sealed_elsewhere(given: Given) -> None:
    hub, needles = given.hub, given.needles
    with psycopg.connect(Home(hub.home).migration_database_url()) as connection:  # the owner, who may read all of it
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        holding = set()
        for (table,) in tables:
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))).fetchall()
            holding |= {table for (row,) in rows if shows(row.encode(), needles)}
    assert holding == {"job_results"}


def test_the_calls_themselves_went_through(given: Given) -> None:
    with given.hub.api() as api:
        echo = api.get("/v1/servers/echo").json()["id"]
        rows = [row for row in api.get("/v1/jobs").json()["items"] if row["server_id"] == echo]
        said = [row for row in rows if row["tool_name"] == "say" and row["status"] == "completed"]
        results = {row["lane"]: api.get(f"/v1/jobs/{row['id']}").json()["result"] for row in reversed(said)}
    for lane in ("durable", "direct"):
        assert CANARY in results[lane]["content"][0]["text"], lane
    assert {row["tool_name"]: row["status"] for row in rows} == {
        "say": "completed",
        "fail": "completed",
        "raise": "failed",
        "die": "failed",
    }
