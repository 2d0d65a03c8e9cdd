"""Notices of one session: for whom each of them is."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from nexus_hub.upstream.notices import MOST_PER_SECOND, MOST_WAITING, LogRelay, Notices, read_level
from nexus_hub.upstream.peer import Pause, Peer, PeerRefused
from nexus_hub.upstream.questions import Questions

LEVEL = "io.modelcontextprotocol/logLevel"


class Hearing:
    """A peer that keeps what it hears."""

    capabilities: Mapping[str, Any] = {}
    takes_rounds = False
    speaks_older = False
    obstacle = None

    def __init__(self, owner: str = "a", held: asyncio.Event | None = None) -> None:
        self.owner = owner
        self.heard: list[object] = []
        self._held = held

    async def log(self, params: dict[str, Any]) -> None:
        if self._held is not None:
            await self._held.wait()
        self.heard.append(params["data"])

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        del method, params
        raise PeerRefused("no")

    async def complete(self, params: dict[str, Any]) -> None:
        del params


class Told:
    """A session's notices, and what they told of changes and updates."""

    def __init__(self) -> None:
        self.changes = 0
        self.updates: list[str] = []
        self.now = 0.0
        self.notices = Notices(self.change, self.updates.append, lambda: self.now)
        self.questions = Questions(is_command=True, on_unattributed=lambda: None)

    def change(self) -> None:
        self.changes += 1

    @asynccontextmanager
    async def call(self, peer: Peer | None, *idents: int | str, level: str | None = None) -> AsyncIterator[None]:
        """Have a call under way, sent as requests of these ids."""
        async with LogRelay(peer, level) as logs:
            with self.questions.call(peer, Pause(), logs):
                for ident in idents:
                    request = JSONRPCRequest(jsonrpc="2.0", id=ident, method="tools/call", params={})
                    self.questions.note_sent(request)
                yield

    async def says(self, method: str, params: dict[str, Any] | None = None, on: int | str | None = None) -> bool:
        metadata = None if on is None else ServerMessageMetadata(related_request_id=on)
        message = JSONRPCNotification(jsonrpc="2.0", method=f"notifications/{method}", params=params)
        return await self.notices.take(SessionMessage(message, metadata), self.questions.find_logs)

    async def logs(self, data: object, on: int | str | None = None, level: str = "info") -> None:
        assert await self.says("message", {"level": level, "data": data}, on)


@pytest.mark.parametrize("kind", ["tools", "resources", "prompts"])
async def test_a_change_of_a_list_is_told_and_kept_from_the_sdk(kind: str) -> None:
    told = Told()
    assert await told.says(f"{kind}/list_changed")
    assert (told.changes, told.updates) == (1, [])


async def test_an_update_is_told_with_its_uri() -> None:
    told = Told()
    assert await told.says("resources/updated", {"uri": "a://b"})
    assert await told.says("resources/updated", {"uri": 1})
    assert await told.says("resources/updated")
    assert (told.changes, told.updates) == (0, ["a://b"])


@pytest.mark.parametrize("method", ["progress", "cancelled", "subscriptions/acknowledged", "roots/list_changed", "x"])
async def test_other_notices_are_the_sdks(method: str) -> None:
    assert not await Told().says(method, {})


async def test_answers_and_errors_are_the_sdks() -> None:
    told = Told()
    answer = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={}))
    assert not await told.notices.take(answer, told.questions.find_logs)
    assert not await told.notices.take(ValueError("broken"), told.questions.find_logs)


async def test_a_message_on_the_stream_of_a_call_goes_to_its_client_alone() -> None:
    told, first, second = Told(), Hearing("a"), Hearing("b")
    async with told.call(first, 1), told.call(second, "x"):
        await told.logs("for a", on=1)
        await told.logs("for b", on="x")
        await told.logs("for nobody", on=3)
    assert (first.heard, second.heard) == (["for a"], ["for b"])


async def test_a_message_beside_all_streams_goes_to_the_one_who_has_ever_called() -> None:
    told, hearing = Told(), Hearing()
    for ident in (1, 2):
        async with told.call(hearing, ident):
            await told.logs(ident)
    assert hearing.heard == [1, 2]


async def test_with_two_calls_under_way_such_a_message_goes_to_nobody() -> None:
    told, hearing = Told(), Hearing()
    async with told.call(hearing, 1), told.call(hearing, 2):
        await told.logs("whose?")
    assert hearing.heard == []


@pytest.mark.parametrize("earlier", [Hearing("b"), None])
async def test_what_a_server_says_late_of_one_call_does_not_reach_another_caller(earlier: Hearing | None) -> None:
    told, hearing = Told(), Hearing("a")
    async with told.call(earlier, 1):
        pass
    async with told.call(hearing, 2):
        await told.logs("may be of the first")
        await told.logs("surely of the second", on=2)
    assert hearing.heard == ["surely of the second"]
    assert earlier is None or earlier.heard == []


async def test_between_calls_a_message_goes_to_nobody() -> None:
    told, hearing = Told(), Hearing()
    async with told.call(hearing, 1):
        pass
    await told.logs("late", on=1)
    await told.logs("late")
    assert hearing.heard == []


async def test_a_call_that_was_sent_twice_hears_of_both() -> None:
    told, hearing = Told(), Hearing()
    async with told.call(hearing, 1, 2):
        await told.logs("first", on=1)
        await told.logs("second", on=2)
    assert hearing.heard == ["first", "second"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        (None, ["debug", "info", "error", "odd"]),
        ("debug", ["debug", "info", "error", "odd"]),
        ("warning", ["error", "odd"]),
    ],
)
async def test_messages_below_the_callers_level_are_dropped(level: str | None, heard: list[str]) -> None:
    told, hearing = Told(), Hearing()
    async with told.call(hearing, 1, level=level):
        for each in ("debug", "info", "error", "odd"):
            await told.logs(each, on=1, level=each)
    assert hearing.heard == heard


@pytest.mark.parametrize(
    ("meta", "level"),
    [
        ({LEVEL: "debug"}, "debug"),
        ({LEVEL: "loud"}, None),
        ({LEVEL: 3}, None),
        ({LEVEL: None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_level_that_the_protocol_does_not_know_is_none(meta: dict[str, Any] | None, level: str | None) -> None:
    assert read_level(meta) == level


async def test_a_client_that_fails_hears_the_next_message() -> None:
    class Failing(Hearing):
        async def log(self, params: dict[str, Any]) -> None:
            if params["data"] == "bad":
                raise ConnectionError
            await super().log(params)

    told, failing = Told(), Failing()
    async with told.call(failing, 1):
        for data in ("one", "bad", "two"):
            await told.logs(data, on=1)
    assert failing.heard == ["one", "two"]


async def test_a_client_that_does_not_keep_up_misses_the_oldest_of_a_flood() -> None:
    told, held = Told(), asyncio.Event()
    hearing = Hearing(held=held)
    async with told.call(hearing, 1):
        for data in range(MOST_WAITING + 3):
            await told.logs(data, on=1)
        held.set()
    assert hearing.heard == list(range(3, MOST_WAITING + 3))


async def test_a_call_that_ends_by_an_error_delivers_nothing_more() -> None:
    told, held = Told(), asyncio.Event()
    hearing = Hearing(held=held)

    async def call() -> None:
        async with told.call(hearing, 1):
            await told.logs("waits", on=1)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await call()
    held.set()
    await asyncio.sleep(0)
    assert hearing.heard == []


async def test_a_server_that_says_too_much_is_read_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    told, pauses = Told(), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        told.now += seconds

    monkeypatch.setattr("nexus_hub.upstream.notices.asyncio.sleep", sleep)
    for _ in range(3 * (MOST_PER_SECOND + 1)):
        await told.says("tools/list_changed")
    assert pauses == [1.0, 1.0, 1.0]
    assert told.changes == 3 * (MOST_PER_SECOND + 1)
