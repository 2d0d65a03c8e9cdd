"""Streams that tell of changes: when each is opened again, and when it is given up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import MCPError
from mcp.client.subscriptions import SubscriptionLost

from nexus_hub.upstream import listening, streamable
from nexus_hub.upstream.faults import Kind, TransportFailure
from nexus_hub.upstream.listening import LONGEST_PAUSE_SECONDS
from nexus_hub.upstream.streamable import LenientTransport

Outcome = Exception | float | None
"""How an attempt ends: by an error before it is open, or after so many seconds, by the server or by a lost stream."""


class Done(Exception):
    """The end of the script of a test."""


@dataclass
class Timed:
    """A clock that the pauses move, and the attempts to open a stream."""

    outcomes: list[Outcome]
    now: float = 0.0
    pauses: list[float] = field(default_factory=list)
    opened: int = 0

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def attempt(self) -> Outcome:
        if not self.outcomes:
            raise Done
        self.opened += 1
        return self.outcomes.pop(0)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """A clock without chance for both kinds of streams."""
    clock = Timed([])
    for module in (listening, streamable):
        monkeypatch.setattr(module.asyncio, "sleep", clock.sleep)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
        monkeypatch.setattr(module, "random", lambda: 1.0)
    return clock


class Stream:
    """A stream that stays open for a while."""

    def __init__(self, clock: Timed, seconds: float | None) -> None:
        self.clock, self.seconds = clock, seconds

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        if self.seconds is None:
            raise SubscriptionLost
        self.clock.now += self.seconds
        raise StopAsyncIteration


def play(timed: Timed, monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[str]:
    """Script the streams of a session; gives what it told of changes."""
    timed.outcomes[:] = outcomes

    @asynccontextmanager
    async def listen(session: Any, **kinds: bool) -> AsyncIterator[Stream]:
        del session, kinds
        outcome = timed.attempt()
        if isinstance(outcome, Exception):
            raise outcome
        yield Stream(timed, outcome)

    monkeypatch.setattr(listening, "listen", listen)
    return []


async def listens(changes: list[str]) -> None:
    await listening._listen(None, {"tools"}, lambda: changes.append("changed"))  # type: ignore[arg-type]


async def test_a_stream_that_ends_at_once_is_opened_after_ever_longer_pauses(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = play(timed, monkeypatch, *[0.0] * 14)
    with pytest.raises(Done):
        await listens(changes)
    assert timed.pauses == [min(0.5 * 2**n, LONGEST_PAUSE_SECONDS) for n in range(14)]
    assert len(changes) == 13, "each but the first: something may have been missed"


async def test_one_that_was_open_for_long_is_opened_again_soon(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = play(timed, monkeypatch, 0.0, 0.0, 3600.0, None, 0.0)
    with pytest.raises(Done):
        await listens(changes)
    assert timed.pauses == [0.5, 1.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("code", [types.METHOD_NOT_FOUND, types.INVALID_PARAMS, -32021])
async def test_a_server_that_does_not_know_it_is_not_asked_again(
    timed: Timed, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    changes = play(timed, monkeypatch, MCPError(code, "no"), 0.0)
    await listens(changes)
    assert (timed.opened, changes, timed.pauses) == (1, [], [])


@pytest.mark.parametrize(
    "error",
    [MCPError(types.INTERNAL_ERROR, "limit reached"), MCPError(types.CONNECTION_CLOSED, "x"), SubscriptionLost()],
)
async def test_a_server_that_can_not_just_now_is_asked_later(
    timed: Timed, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    changes = play(timed, monkeypatch, error, error, 0.0)
    with pytest.raises(Done):
        await listens(changes)
    assert (timed.opened, changes) == (3, [])


class Scripted(LenientTransport):
    """A transport whose stream behaves as the test says: an error, or whether it is offered."""

    def __init__(self, timed: Timed, retry_seconds: float = 0.0) -> None:
        super().__init__("http://127.0.0.1/mcp")
        self.session_id = "s"
        self._timed = timed
        self._retry_seconds = retry_seconds

    async def _read_get_stream(self, client: Any, read_stream_writer: Any, place: Any) -> bool:
        del client, read_stream_writer
        place.retry_seconds = self._retry_seconds
        outcome = self._timed.attempt()
        if isinstance(outcome, Exception):
            raise outcome
        self._timed.now += outcome or 0.0
        return outcome is not None


async def reads(transport: Scripted) -> None:
    await transport.handle_get_stream(None, None)  # type: ignore[arg-type]


async def test_a_sessions_own_stream_is_opened_again_however_often_it_fails(timed: Timed) -> None:
    timed.outcomes[:] = [httpx2.ReadError("cut"), httpx2.SSEError("odd"), *[0.0] * 12]
    with pytest.raises(Done):
        await reads(Scripted(timed))
    assert timed.pauses == [min(0.5 * 2**n, LONGEST_PAUSE_SECONDS) for n in range(14)]


async def test_it_is_not_asked_for_again_where_it_is_not_offered(timed: Timed) -> None:
    timed.outcomes[:] = [None, 0.0]
    await reads(Scripted(timed))
    assert (timed.opened, timed.pauses) == (1, [])


@pytest.mark.parametrize(("wanted", "pauses"), [(0.0, [0.5, 1.0]), (30.0, [30.0, 30.0]), (1e9, [300.0, 300.0])])
async def test_the_pause_that_its_server_wants_is_kept_within_bounds(
    timed: Timed, wanted: float, pauses: list[float]
) -> None:
    timed.outcomes[:] = [0.0, 0.0]
    with pytest.raises(Done):
        await reads(Scripted(timed, wanted))
    assert timed.pauses == pauses


def failed(kind: Kind, detail: str = "") -> httpx2.Response:
    return httpx2.Response(502, json=TransportFailure(kind, detail).to_message().model_dump(mode="json"))


@pytest.mark.parametrize(
    ("response", "passes"),
    [
        (httpx2.Response(405), False),
        (httpx2.Response(404), False),
        (httpx2.Response(400, json={"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "no"}}), False),
        (httpx2.Response(503), True),
        (httpx2.Response(307), False),
        (failed("status", "405"), False),
        (failed("status", "501"), False),
        (failed("status", "503"), True),
        (failed("session", "404"), False),
        (failed("credentials", "401"), False),
        (failed("limited", "429"), True),
        (failed("refused"), True),
        (failed("disconnected"), True),
        (failed("redirect", "elsewhere"), False),
    ],
)
async def test_a_refusal_that_may_pass_is_told_from_one_that_will_not(response: httpx2.Response, passes: bool) -> None:
    assert await streamable._may_pass(response) is passes


async def test_the_loop_ends_with_the_session(timed: Timed) -> None:
    transport = Scripted(timed)
    transport.session_id = None
    await reads(transport)
    assert timed.opened == 0
