"""Answers that are shared for a moment."""

import asyncio

import pytest

from nexus_hub.calls.cache import TtlCache


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
