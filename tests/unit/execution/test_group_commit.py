"""Writes in groups."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

from nexus_hub.execution.group_commit import GroupCommit


@dataclass(frozen=True)
class Item:
    claim_id: UUID
    good: bool = True


def items(count: int) -> list[Item]:
    return [Item(uuid4()) for _ in range(count)]


async def test_what_comes_during_a_write_goes_together_with_the_next() -> None:
    groups: list[int] = []

    async def write(group: list[Item]) -> set[UUID]:
        groups.append(len(group))
        await asyncio.sleep(0.01)
        return {one.claim_id for one in group}

    grouped = GroupCommit(write, largest=4)
    first = asyncio.create_task(grouped(Item(uuid4())))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await asyncio.gather(first, *(grouped(one) for one in items(6))) == [True] * 7
    assert groups == [1, 4, 2]


async def test_each_hears_of_its_own_claim() -> None:
    async def write(group: list[Item]) -> set[UUID]:
        return {one.claim_id for one in group if one.good}

    grouped = GroupCommit(write)
    told = await asyncio.gather(*(grouped(Item(uuid4(), good)) for good in (True, False, True)))
    assert told == [True, False, True]


async def test_one_that_is_refused_takes_no_other_with_it() -> None:
    async def write(group: list[Item]) -> set[UUID]:
        if not all(one.good for one in group):
            raise RecursionError
        return {one.claim_id for one in group}

    grouped = GroupCommit(write, apart=(RecursionError,))
    told = await asyncio.gather(*(grouped(Item(uuid4(), good)) for good in (True, False, True)), return_exceptions=True)
    assert [told[0], type(told[1]), told[2]] == [True, RecursionError, True]


async def test_an_error_of_another_kind_is_everybodys() -> None:
    async def write(_group: list[Item]) -> set[UUID]:
        raise OSError

    grouped = GroupCommit(write, apart=(RecursionError,))
    told = await asyncio.gather(*(grouped(one) for one in items(3)), return_exceptions=True)
    assert [type(one) for one in told] == [OSError] * 3


async def test_one_that_gives_up_waiting_holds_up_no_other() -> None:
    async def write(group: list[Item]) -> set[UUID]:
        await asyncio.sleep(0.01)
        return {one.claim_id for one in group}

    grouped = GroupCommit(write)
    waiting = [asyncio.create_task(grouped(one)) for one in items(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [told[0], told[2]] == [True, True]


async def test_what_nobody_waits_for_is_written_with_what_comes_meanwhile() -> None:
    groups: list[int] = []

    async def write(group: list[Item]) -> set[UUID]:
        groups.append(len(group))
        return {one.claim_id for one in group if one.good}

    lingering = GroupCommit(write, largest=3, linger=0.05)
    written = [lingering.put(Item(uuid4())) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    written += [lingering.put(Item(uuid4(), good)) for good in (False, True)]
    assert await asyncio.gather(*written) == [True, True, False, True]
    assert groups == [3, 1]


async def test_what_lingers_is_written_at_once_when_it_has_to_hurry() -> None:
    async def write(group: list[Item]) -> set[UUID]:
        return {one.claim_id for one in group}

    grouped = GroupCommit(write, linger=3600)
    lingering = [grouped.put(one) for one in items(2)]
    await asyncio.sleep(0)
    grouped.hurry()
    assert await asyncio.wait_for(asyncio.gather(*lingering), 60) == [True, True]
    await asyncio.sleep(0)
    later = grouped.put(Item(uuid4()))
    await asyncio.sleep(0.05)
    assert not later.done(), "the next one lingers again"
    later.cancel()
