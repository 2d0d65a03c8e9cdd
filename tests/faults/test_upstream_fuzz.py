"""Servers that spoil one answer in any way: each call ends in time, in a word of ours, and all else lives.

NEXUS_FUZZ says how many times five such servers are tried at once over each transport.
"""

import asyncio
import base64
import os
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nexus_hub.errors import HubError
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.scripted import PLAIN, Script, ScriptedHttp, over_stdio, scripted_http
from tests.fixtures.upstreams import target
from tests.upstreams.scripted import GONE

AT_ONCE = 5
COUNT = int(os.environ.get("NEXUS_FUZZ", "12"))
CALL_SECONDS = 1.0
CONNECT_SECONDS = 1.0
HANG_SECONDS = 30.0
"""Far beyond all time-outs of a call and its two tries: what takes this long hangs."""
SECRET = "secret-of-the-answer"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**53, max_value=2**80)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.just(GONE)
    | st.sampled_from(
        ["", "object", "2026-07-28", "1999-01-01", "\x00", "\u202e", "complete", "input_required", SECRET]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
edits = st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=5), json_values), max_size=3)
some_bytes = st.binary(max_size=60) | st.sampled_from(
    [
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"[",
        b"{}",
        b"null",
        b"[]",
        b"\n\n",
        b"\r\n",
        b"log: starting\n",
        b"\x00",
        b"{\n",
        b'"',
        b"\xc3",
    ]
)
encoded = some_bytes.map(lambda value: base64.b64encode(value).decode())
wire_changes = st.one_of(
    st.just({"do": "silence"}),
    st.fixed_dictionaries({"do": st.sampled_from(["twice", "pretty", "surrogate"])}),
    st.fixed_dictionaries({"do": st.just("cut"), "at": st.integers(0, 99)}),
    st.fixed_dictionaries({"do": st.sampled_from(["before", "after", "replace"]), "bytes": encoded}),
    st.fixed_dictionaries({"do": st.just("deep"), "levels": st.sampled_from([10, 300, 5000])}),
    st.fixed_dictionaries(
        {"do": st.just("number"), "text": st.sampled_from(["0" * 5000, "e999", "e-999", ".5", "e5000000"])}
    ),
)
http_changes = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(
            [
                200,
                201,
                202,
                204,
                301,
                302,
                307,
                308,
                400,
                401,
                403,
                404,
                405,
                406,
                409,
                410,
                415,
                422,
                429,
                500,
                502,
                503,
                504,
                599,
            ]
        ),
        "type": st.sampled_from(
            ["application/json", "text/html", "text/event-stream", "application/json; charset=utf-16", "", "nonsense"]
        ),
        "longer": st.sampled_from([-5, -1, 1, 500]),
        "headers": st.lists(
            st.tuples(
                st.sampled_from(
                    ["mcp-session-id", "retry-after", "location", "content-encoding", "mcp-protocol-version", "x"]
                ),
                st.sampled_from(
                    ["", "0", "-1", "1e9", "never", "gzip", "br", "/elsewhere", "http://127.0.0.1:1/x", "é", "a" * 5000]
                ),
            ),
            max_size=2,
        ),
        "sse": st.fixed_dictionaries(
            {"before": encoded, "end": st.sampled_from(["\n\n", "\r\n\r\n", "\n", "", "\nretry: x\n\n"])}
        ),
    },
)
scripts = st.fixed_dictionaries(
    {
        "modern": st.booleans(),
        "method": st.sampled_from(["tools/call", "tools/call", "tools/list", "initialize", "server/discover"]),
        "edits": edits,
        "wire": st.lists(wire_changes, max_size=2),
        "exits": st.sampled_from([False, False, False, True]),
        "no_newline": st.sampled_from([False, False, False, True]),
        "http": http_changes,
    }
)


class Place:
    """An event loop with connections, a good server on them, and a note of every error that nobody awaited."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stray: list[str] = []
        self.runner.run(self._open())

    async def _open(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._note)
        self.connections = await Connections(
            log_dir=None, connect_timeout=CONNECT_SECONDS, jitter=lambda: 0.0
        ).__aenter__()
        self._listening = scripted_http()
        self.http: ScriptedHttp = await self._listening.__aenter__()
        unhurried = {"connect_seconds": HANG_SECONDS}
        self.good = [
            target(config.model_copy(update=unhurried), name=name)
            for name, config in (("good", over_stdio(PLAIN)), ("good-http", self.http.add(PLAIN)))
        ]

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.stray.append(f"{context.get('message')}: {context.get('exception')!r}")

    def close(self) -> None:
        async def closed() -> None:
            await self.connections.__aexit__(None, None, None)
            await self._listening.__aexit__(None, None, None)

        self.runner.run(closed())
        self.runner.close()

    async def try_out(self, odd: list[Target]) -> None:
        """Inspect and call servers that spoil an answer, all at once; then the good ones work as before."""
        await asyncio.gather(*(self._try_one(one) for one in odd))
        for good in self.good:
            result = await self.connections.request(good, ToolCall("echo", {}), timeout=HANG_SECONDS)
            assert result["structuredContent"] == {SECRET: 1}

    async def _try_one(self, odd: Target) -> None:
        """Each way to ask it ends, and says nothing of what it has sent."""
        async with asyncio.timeout(HANG_SECONDS):
            await self._ends_well(self.connections.inspect(odd, timeout=CALL_SECONDS * 2))
            await self._ends_well(self.connections.request(odd, ToolCall("echo", {}), timeout=CALL_SECONDS))
            await self.connections.forget(odd.ref)

    async def _ends_well(self, work: Any) -> None:
        ended = (await asyncio.gather(work, return_exceptions=True))[0]
        if isinstance(ended, BaseException):
            assert isinstance(ended, HubError), repr(ended)
            kept = {name: value for name, value in vars(ended).items() if name != "answer"}
            assert SECRET not in str(ended) + repr(kept)
            assert ended.__cause__ is ended.__context__ is None


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    opened = Place()
    before = set(psutil.Process().children())
    yield opened
    opened.close()
    # Of the forks that others of the run have asked for, this process may be an ancestor, too.
    _, left = psutil.wait_procs(set(psutil.Process().children()) - before, timeout=10)
    assert not left
    assert not opened.stray


def patient(function: Any) -> Any:
    """The same behaviours in each run of the tests, others with NEXUS_FUZZ; one that fails is shown as it was made."""
    return settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        derandomize="NEXUS_FUZZ" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(function)


@patient
@given(script=st.lists(scripts, min_size=AT_ONCE, max_size=AT_ONCE))
def test_no_answer_over_stdio_hurts_more_than_its_call(place: Place, script: list[Script]) -> None:
    place.runner.run(place.try_out([target(over_stdio(each)) for each in script]))


@patient
@given(script=st.lists(scripts, min_size=AT_ONCE, max_size=AT_ONCE))
def test_no_answer_over_http_hurts_more_than_its_call(place: Place, script: list[Script]) -> None:
    place.runner.run(place.try_out([target(place.http.add(each)) for each in script]))
