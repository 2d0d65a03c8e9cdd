"""Turns of checks: one costly check, then everybody else, then the next one."""

import asyncio
import itertools

import pytest

from nexus_hub.calls import turns
from nexus_hub.calls.turns import take_turn

AT_ONCE = 20


async def run_beside_a_ticker(monkeypatch: pytest.MonkeyPatch, *, costly: bool) -> list[str]:
    """Let many tasks take a turn each, all of them ready at once, and something else whenever the loop comes round."""
    monkeypatch.setattr(turns, "_COSTLY_SECONDS", -1 if costly else 60)
    done: list[str] = []

    async def tick() -> None:
        while done.count("check") < AT_ONCE:
            done.append("tick")
            await asyncio.sleep(0)

    async def check() -> None:
        async with take_turn():
            done.append("check")

    await asyncio.gather(*(check() for _ in range(AT_ONCE)), tick())
    return done


async def test_between_two_costly_checks_the_loop_does_its_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    done = await run_beside_a_ticker(monkeypatch, costly=True)
    assert ("check", "check") not in itertools.pairwise(done)


async def test_checks_that_cost_little_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await run_beside_a_ticker(monkeypatch, costly=False))[:AT_ONCE] == ["check"] * AT_ONCE


async def test_a_check_that_fails_ends_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_COSTLY_SECONDS", -1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            async with take_turn():
                raise ValueError("broken")


def test_every_loop_has_turns_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert asyncio.run(run_beside_a_ticker(monkeypatch, costly=True)).count("check") == AT_ONCE
