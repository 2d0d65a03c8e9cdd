"""Servers whose process ends after an answer: calls that come at once are served, each of them once."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_hub.errors import OutcomeUnknown, UpstreamRejected, UpstreamTimedOut, UpstreamUnavailable
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.upstreams import own_server, target

Mortal = Callable[..., Target]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "calls.log"


@pytest.fixture
def mortal(log: Path) -> Mortal:
    """A server that ends in this way after so many answers."""
    return lambda way, answers=1: target(own_server("mortal", str(log), way, str(answers)))


async def note(connections: Connections, upstream: Target, text: str, timeout: float = 60) -> Any:
    result = await connections.request(upstream, ToolCall("note", {"text": text}), timeout=timeout)
    return result["content"][0]["text"]


async def note_all(connections: Connections, upstream: Target, texts: str) -> list[Any]:
    return await asyncio.gather(*(note(connections, upstream, text) for text in texts), return_exceptions=True)


def noted(log: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in log.read_text().splitlines())


def children(log: Path) -> set[str]:
    return {line.split()[1] for line in log.read_text().splitlines()}


@pytest.mark.parametrize("way", ["exit", "fail", "close", "each"])
async def test_calls_that_come_at_once_each_get_a_child_of_their_own(
    connections: Connections, mortal: Mortal, log: Path, way: str
) -> None:
    upstream = mortal(way)
    if way == "each":
        assert [tool["name"] for tool in (await connections.inspect(upstream)).tools] == ["note"]
    assert await note_all(connections, upstream, "abcd") == ["a", "b", "c", "d"]
    assert noted(log) == Counter("abcd")
    assert len(children(log)) == 4


@pytest.mark.parametrize("way", ["exit", "each"])
async def test_calls_while_the_listings_are_read_are_served_too(
    connections: Connections, mortal: Mortal, log: Path, way: str
) -> None:
    upstream = mortal(way)
    seen, outcomes = await asyncio.gather(connections.inspect(upstream), note_all(connections, upstream, "abcd"))
    assert [tool["name"] for tool in seen.tools] == ["note"]
    assert outcomes == ["a", "b", "c", "d"]
    assert noted(log) == Counter("abcd")


async def test_listings_tell_nothing_of_the_calls_that_a_child_answers(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    upstream = mortal("exit")
    await connections.inspect(upstream)
    assert await note_all(connections, upstream, "abcd") == ["a", "b", "c", "d"]
    assert noted(log) == Counter("abcd")


async def test_an_error_is_an_answer_too(connections: Connections, mortal: Mortal, log: Path) -> None:
    outcomes = await note_all(connections, mortal("error"), "abc")
    assert [type(outcome) for outcome in outcomes] == [UpstreamRejected] * 3
    assert noted(log) == Counter("abc")


async def test_calls_one_after_the_other_meet_no_dying_child(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    upstream = mortal("exit")
    assert [await note(connections, upstream, text) for text in "abc"] == ["a", "b", "c"]
    assert len(children(log)) == 3


async def test_a_child_gets_as_many_calls_as_the_last_one_answered(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    upstream = mortal("exit", 3)
    first = await note_all(connections, upstream, "abcde")
    assert {type(outcome) for outcome in first} == {str, OutcomeUnknown}
    log.unlink()
    assert await note_all(connections, upstream, "fghijkl") == list("fghijkl")
    assert noted(log) == Counter("fghijkl")
    assert len(children(log)) == 3


async def test_a_server_that_goes_on_gets_its_calls_at_once(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    assert await note_all(connections, mortal("never"), "abcdef") == list("abcdef")
    assert len(children(log)) == 1


async def test_a_server_that_ended_once_is_not_held_back_for_good(connections: Connections, tmp_path: Path) -> None:
    upstream = target(own_server("habits"))

    async def call(tool: str, **arguments: object) -> int:
        result = await connections.request(upstream, ToolCall(tool, arguments), timeout=60)
        return int(result["structuredContent"]["pid"])

    await call("echo")
    with pytest.raises(OutcomeUnknown):
        await call("die")
    child = await call("echo")
    hanging = asyncio.create_task(call("hang", folder=str(tmp_path)))
    while not (tmp_path / "began").exists():
        await asyncio.sleep(0.01)
    assert set(await asyncio.gather(call("echo"), call("echo"))) == {child}
    assert not hanging.done()
    hanging.cancel()


async def test_a_call_that_hangs_holds_back_no_other_one_of_an_unknown_server(
    connections: Connections, tmp_path: Path
) -> None:
    upstream = target(own_server("habits"))
    hang = ToolCall("hang", {"folder": str(tmp_path)})
    hanging = asyncio.create_task(connections.request(upstream, hang, timeout=None))
    while not (tmp_path / "began").exists():
        await asyncio.sleep(0.01)
    await asyncio.gather(*(connections.request(upstream, ToolCall("echo"), timeout=60) for _ in range(3)))
    assert not hanging.done()
    hanging.cancel()


async def test_after_a_call_that_was_given_up_the_next_one_gets_a_new_child(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    upstream = mortal("exit")
    await note(connections, upstream, "a")
    with pytest.raises(UpstreamTimedOut):
        await note(connections, upstream, "hang", timeout=3)
    assert await note(connections, upstream, "b") == "b"
    assert noted(log) == Counter(["a", "hang", "b"])


async def test_a_server_that_ends_once_it_is_open_ends_each_call_and_runs_none(
    connections: Connections, mortal: Mortal, log: Path
) -> None:
    outcomes = await note_all(connections, mortal("initialize"), "abcd")
    assert all(isinstance(outcome, UpstreamUnavailable | OutcomeUnknown) for outcome in outcomes), outcomes
    assert not log.exists()
