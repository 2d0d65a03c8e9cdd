"""Changes that servers tell of: how often each of them is read."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from nexus_hub.errors import DatabaseUnavailable, NotFound, RefreshRunning, UpstreamUnavailable
from nexus_hub.models import ServerRef
from nexus_hub.servers.changes import (
    FIRST_PAUSE_SECONDS,
    GATHER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    ChangeRefresher,
)
from nexus_hub.upstream.snapshot import Snapshot

REF = ServerRef("system", UUID(int=1))
OTHER = ServerRef("user", UUID(int=2))


class Refreshing:
    """A refresher that counts, and gives another list whenever `changing`."""

    def __init__(self) -> None:
        self.read: list[ServerRef] = []
        self.changing = False
        self.errors: list[Exception] = []
        self.held: dict[ServerRef, asyncio.Event] = {}

    async def refresh(self, ref: ServerRef) -> Snapshot:
        self.read.append(ref)
        if ref in self.held:
            await self.held[ref].wait()
        if self.errors:
            raise self.errors.pop(0)
        name = f"t{len(self.read)}" if self.changing else "t"
        return Snapshot("2026-07-28", None, None, {}, tools=[{"name": name}])


class Clock:
    """Pauses that end when the test says so, or at once."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._waiting: list[asyncio.Event] = []

    async def pause(self, seconds: float) -> None:
        if seconds == GATHER_SECONDS:
            await asyncio.sleep(0)
            return
        self.pauses.append(seconds)
        self._waiting.append(event := asyncio.Event())
        await event.wait()

    def pass_by(self) -> None:
        """Let all pauses end."""
        for event in self._waiting:
            event.set()
        self._waiting.clear()


class Scene:
    """A change refresher with its parts."""

    def __init__(self) -> None:
        self.refresher, self.clock = Refreshing(), Clock()
        self.changes = ChangeRefresher(self.refresher, pause=self.clock.pause)

    def note(self, ref: ServerRef = REF) -> None:
        self.changes.note(ref, "srv")

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not happened():
                await asyncio.sleep(0.001)

    async def paused(self, times: int) -> None:
        """Wait for the pause after so many reads."""
        await self.until(lambda: len(self.clock.pauses) == times)


async def test_the_first_notice_has_the_server_read_at_once_and_its_companions_with_it() -> None:
    scene = Scene()
    for _ in range(3):
        scene.note()
    await scene.paused(1)
    assert scene.refresher.read == [REF]
    await scene.changes.close()


async def test_a_flood_has_it_read_once_in_each_pause_and_the_pause_doubles_while_nothing_changes() -> None:
    scene = Scene()
    for times in range(1, 10):
        for _ in range(100):
            scene.note()
        await scene.paused(times)
        scene.note()
        scene.clock.pass_by()
    assert len(scene.refresher.read) == 9
    expected = [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(9)]
    assert scene.clock.pauses == expected
    await scene.changes.close()


async def test_a_server_that_does_change_each_time_keeps_the_short_pause() -> None:
    scene = Scene()
    scene.refresher.changing = True
    for times in range(1, 6):
        scene.note()
        await scene.paused(times)
        scene.clock.pass_by()
    assert scene.clock.pauses == [FIRST_PAUSE_SECONDS] * 5
    await scene.changes.close()


async def test_a_notice_after_a_quiet_pause_has_it_read_at_once_again() -> None:
    scene = Scene()
    scene.note()
    await scene.paused(1)
    scene.clock.pass_by()
    await asyncio.sleep(0.01)
    assert len(scene.refresher.read) == 1, "nothing is read unasked"
    scene.note()
    await scene.paused(2)
    assert len(scene.refresher.read) == 2
    await scene.changes.close()


async def test_a_notice_while_it_is_read_has_it_read_once_more() -> None:
    scene = Scene()
    scene.refresher.held[REF] = asyncio.Event()
    scene.note()
    await scene.until(lambda: scene.refresher.read == [REF])
    scene.note()
    scene.refresher.held[REF].set()
    await scene.paused(1)
    scene.clock.pass_by()
    await scene.paused(2)
    assert len(scene.refresher.read) == 2
    await scene.changes.close()


@pytest.mark.parametrize("error", [RefreshRunning(REF), DatabaseUnavailable()])
async def test_where_somebody_else_is_at_it_or_the_database_is_away_it_is_read_again(error: Exception) -> None:
    scene = Scene()
    scene.refresher.errors = [error]
    scene.note()
    await scene.paused(1)
    scene.clock.pass_by()
    await scene.paused(2)
    assert len(scene.refresher.read) == 2
    await scene.changes.close()


@pytest.mark.parametrize("error", [NotFound("server", REF), UpstreamUnavailable("srv", "it is away"), ValueError("x")])
async def test_what_could_not_be_read_waits_for_its_time_or_the_next_notice(error: Exception) -> None:
    scene = Scene()
    scene.refresher.errors = [error]
    scene.note()
    await scene.paused(1)
    scene.clock.pass_by()
    await asyncio.sleep(0.01)
    assert len(scene.refresher.read) == 1
    scene.note()
    await scene.paused(2)
    assert len(scene.refresher.read) == 2
    await scene.changes.close()


async def test_a_server_that_hangs_holds_up_no_other() -> None:
    scene = Scene()
    scene.refresher.held[REF] = asyncio.Event()
    scene.note()
    scene.note(OTHER)
    await scene.paused(1)
    assert set(scene.refresher.read) == {REF, OTHER}
    await scene.changes.close()


async def test_after_a_long_silence_nothing_is_kept_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_hub.servers.changes.LONGEST_SILENCE_SECONDS", 0.01)
    scene = Scene()
    scene.note()
    await scene.paused(1)
    scene.clock.pass_by()
    await scene.until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "refresh-changed srv"])
    scene.note()
    await scene.paused(2)
    assert scene.refresher.read == [REF, REF]
    await scene.changes.close()
