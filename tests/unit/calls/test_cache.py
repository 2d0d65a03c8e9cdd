"""Answers that are shared for a moment."""

import asyncio

import pytest

from nexus_hub.calls import cache
from nexus_hub.calls.cache import TtlCache
from nexus_hub.errors import DatabaseUnavailable, NotFound


async def test_an_answer_is_read_once_until_it_is_too_old() -> None:
    now, reads = [0.0], []

    async def read(key: str) -> int:
        reads.append(key)
        await asyncio.sleep(0)
        return len(reads)

    remembered = TtlCache(read, 2, clock=lambda: now[0])
    assert await asyncio.gather(*(remembered("a") for _ in range(5))) == [1] * 5
    now[0] = 1.9
    assert await remembered("a") == 1
    now[0] = 2.0
    assert await remembered("a") == 2
    assert reads == ["a", "a"]


async def test_an_error_is_not_remembered() -> None:
    reads: list[str] = []

    async def read(key: str) -> str:
        reads.append(key)
        if len(reads) == 1:
            raise OSError
        return key

    remembered = TtlCache(read, 2)
    with pytest.raises(OSError):
        await remembered("a")
    assert await remembered("a") == "a"


async def test_what_is_too_old_is_not_kept() -> None:
    now = [0.0]

    async def read(key: str) -> str:
        return key

    remembered = TtlCache(read, 2, clock=lambda: now[0])
    await remembered("a")
    now[0] = 2.0
    await remembered("b")
    assert list(remembered._known) == ["b"]


async def test_with_no_seconds_each_asker_reads_and_nothing_is_kept() -> None:
    reads: list[str] = []

    async def read(key: str) -> str:
        reads.append(key)
        await asyncio.sleep(0)
        return key

    remembered = TtlCache(read, 0)
    assert await asyncio.gather(*(remembered("a") for _ in range(2))) == ["a", "a"]
    assert reads == ["a", "a"]
    assert not remembered._known


async def test_where_changes_are_told_of_nobody_waits_for_an_answer_to_be_renewed() -> None:
    now, reads, gate = [0.0], list[str](), asyncio.Event()

    async def read(key: str) -> str:
        reads.append(key)
        if len(reads) > 1:
            await gate.wait()
        return f"{key}{len(reads)}"

    remembered = TtlCache(read, 2, clock=lambda: now[0], kept_seconds=100)
    assert await remembered("a") == "a1"
    now[0] = 3.0
    assert [await remembered("a") for _ in range(3)] == ["a1"] * 3
    assert len(reads) == 1 + 1 or not reads[1:]
    await asyncio.sleep(0)
    assert reads == ["a", "a"]
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await remembered("a") == "a2"
    now[0] = 200.0
    assert await remembered("a") == "a3"


async def test_while_the_database_is_away_the_last_answer_stands_and_is_renewed_later() -> None:
    now = [0.0]
    answers: list[str | Exception] = ["first", DatabaseUnavailable(), "second", NotFound("server", "x"), "third"]
    reads = iter(answers)

    async def read(_key: str) -> str:
        answer = next(reads)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> str:
        await remembered("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await remembered("a")

    remembered = TtlCache(read, 30, clock=lambda: now[0], kept_seconds=3600)
    assert await ask() == "first"
    now[0] = 31.0
    assert await ask() == "first"
    now[0] = 31.0 + cache.RETRY_SECONDS
    assert await ask() == "second"
    now[0] += 31.0
    assert await ask() == "third", "what is not there any more is no answer"


async def test_a_change_that_is_told_of_goes_before_what_is_being_renewed() -> None:
    now, gate, reads = [0.0], asyncio.Event(), list[str]()

    async def read(key: str) -> str:
        reads.append(key)
        number = len(reads)
        if number == 2:
            await gate.wait()
        return f"{key}{number}"

    remembered = TtlCache(read, 2, clock=lambda: now[0], kept_seconds=100)
    await remembered("a")
    now[0] = 3.0
    await remembered("a")
    remembered.forget("a")
    assert await remembered("a") == "a3"
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await remembered("a") == "a3"


async def test_all_that_is_stale_is_read_anew() -> None:
    reads: list[str] = []

    async def read(key: str) -> str:
        reads.append(key)
        return key

    remembered = TtlCache(read, 60)
    for key in ("a", "b"):
        await remembered(key)
    remembered.forget_all(lambda key: key == "a")
    for key in ("a", "b"):
        await remembered(key)
    assert reads == ["a", "b", "a"]
