"""Feed of changes of jobs to all followers in this process.

The listener hands in each change once. Changes that it missed while its connection was cut are read afterwards, in one
go for all followers; the same reading, every few seconds, is the backstop for a connection that is dead and does not
say so. A follower drops changes that are not newer than those it has: first follow, then read, then go on from there.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.jobs.store import JOBS
from nexus_hub.live.listener import JobChange
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.telemetry.loops import tell_failure

BACKSTOP_SECONDS = 5.0
GRACE_SECONDS = 0.5
"""The time that the backstop leaves to notices that are on their way, so that it does not overtake them."""
MARGIN_SECONDS = 30.0
"""The time that a transaction may take from a job's `completed_at` to its commit."""
RETRY_SECONDS = 1.0
PAGE = 1000
SNAPSHOT_LIMIT = 1000
CAUGHT_UP_LIMIT = 10_000
QUEUE_LIMIT = 1000
LONGEST_QUEUE = 50_000


class Signal(Enum):
    """Signals that a follower gets besides changes."""

    RESYNC = "changes in between may have been left out; the last one of each job follows"
    IDLE = "nothing has happened for a while"
    END = "there is nothing more to come"


class Follower:
    """Follows a job, or all jobs that a principal may see; made by `Feed.follow`."""

    def __init__(self, principal: Principal, job_id: UUID | None) -> None:
        self.principal = principal
        self.job_id = job_id
        self.known: dict[UUID, int] = {}
        """The version of each job that it has heard of and that has not ended."""
        self._since = time.monotonic()
        self._queue: deque[JobChange | None] = deque()
        self._limit = QUEUE_LIMIT
        self._filled = asyncio.Event()
        self.closed = False
        """True once nothing more is put into its queue."""

    def offer(self, change: JobChange, ended_at: float | None = None) -> None:
        """Put a change into its queue; `ended_at` (monotonic) of one that was read is when the job ended."""
        if not self.principal.is_operator and change.user_id != self.principal.user_id:
            return
        if ended_at is not None and ended_at < self._since - 1 and change.job_id not in self.known:
            return  # over before it began to follow
        if change.version > self.known.get(change.job_id, 0):  # after a cut, all open jobs come again to everybody
            self._put(change)

    def resync(self) -> None:
        """Put in that changes may have been missed."""
        self._put(None)

    def close(self) -> None:
        """Let it end once its queue is empty."""
        self.closed = True
        self._filled.set()

    def take_note(self, change: JobChange) -> bool:
        """Note a change as known; False if it is no newer than what was known."""
        if change.version <= self.known.get(change.job_id, 0):
            return False
        self.known[change.job_id] = change.version
        if change.ended:
            del self.known[change.job_id]
        return True

    def is_superseded(self, change: JobChange) -> bool:
        """Tell if a later change of the same job waits already."""
        return any(later is not None and later.job_id == change.job_id for later in self._queue)

    async def next(self, patience: float) -> JobChange | Signal:
        """Wait for the next change that is news; IDLE if there is none for so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    while self._queue:
                        change = self._queue.popleft()
                        if change is None:
                            return Signal.RESYNC
                        if self.take_note(change):
                            return change
                    if self.closed:
                        return Signal.END
                    self._filled.clear()
                    await self._filled.wait()
        return Signal.IDLE

    def _put(self, change: JobChange | None) -> None:
        if self.closed:
            return
        self._queue.append(change)
        if len(self._queue) > self._limit:
            self._compact()
        self._filled.set()

    def _compact(self) -> None:
        """Keep only the last change of each job for a follower that is too slow; close one that is still too slow."""
        latest = {change.job_id: change for change in self._queue if change is not None}
        self._queue = deque([None, *latest.values()])
        self._limit = max(QUEUE_LIMIT, 2 * len(self._queue))
        if len(self._queue) > LONGEST_QUEUE:
            self._queue.clear()
            self.close()


class Feed:
    """Takes the changes of jobs that a process hears of, and hands them on to its followers."""

    def __init__(self, database: Database, *, interval: float = BACKSTOP_SECONDS) -> None:
        self._database = database
        self._interval = interval
        self._followers: defaultdict[UUID | None, set[Follower]] = defaultdict(set)
        self._versions: dict[UUID, int] = {}
        self._ended: dict[UUID, float] = {}
        """The time (monotonic) of each end that was handed on: its version is forgotten once it can't come again."""
        self._settled = time.monotonic()
        """The time (monotonic) since when changes may have been missed."""
        self._missed = asyncio.Event()
        self._closed = False

    def notice(self, change: JobChange | None) -> None:
        """Take a change from the listener; None: it is connected anew."""
        if change is not None:
            self._publish(change)
            return
        self._missed.set()
        for follower in self._all():
            follower.resync()

    @contextmanager
    def follow(self, principal: Principal, job_id: UUID | None = None) -> Iterator[Follower]:
        """Follow a job, which the principal must be known to see, or all that the principal sees."""
        follower = Follower(principal, job_id)
        if not self._followers:
            self._settled = time.monotonic()
            self._versions.clear()
            self._ended.clear()
        self._followers[job_id].add(follower)
        if self._closed:
            follower.close()
        try:
            yield follower
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]

    def count_followers(self, principal: Principal) -> int:
        """Count those that follow for a principal."""
        return sum(follower.principal == principal for follower in self._all())

    def close(self) -> None:
        """Close all followers, and those that come later."""
        self._closed = True
        for follower in self._all():
            follower.close()

    async def run(self) -> None:
        """Read the changes that were missed, after each cut and as a backstop, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._missed.wait()
            cut = self._missed.is_set()
            self._missed.clear()
            try:
                if self._followers:
                    await self._catch_up(cut=cut)
            except Exception as error:  # its message may hold anything
                tell_failure("feed", error)
                await asyncio.sleep(RETRY_SECONDS)
                if cut:
                    self._missed.set()

    def _all(self) -> list[Follower]:
        return [follower for followers in self._followers.values() for follower in followers]

    def _publish(self, change: JobChange, ended_at: float | None = None) -> None:
        """Hand on a change that is newer than the last one of its job."""
        if not self._followers or change.version <= self._versions.get(change.job_id, 0):
            return
        self._versions[change.job_id] = change.version
        if change.ended:
            self._ended[change.job_id] = time.monotonic()
        for key in (None, change.job_id):
            for follower in self._followers.get(key, ()):
                follower.offer(change, ended_at)

    async def _catch_up(self, *, cut: bool) -> None:
        """Read the changes that were missed, once for all followers, and hand them on."""
        began = time.monotonic()
        rows = await self._read(began - self._settled + MARGIN_SECONDS, with_unended=cut)
        if not cut:
            await asyncio.sleep(GRACE_SECONDS)
        for row in rows:
            ended_ago = row.get("ended_ago")
            self._publish(JobChange.from_row(row), None if ended_ago is None else began - ended_ago)
        self._settled = began
        for job_id in [one for one, at in self._ended.items() if at < began - 2 * MARGIN_SECONDS]:
            del self._ended[job_id]
            self._versions.pop(job_id, None)

    async def _read(self, seconds: float, *, with_unended: bool) -> list[dict[str, Any]]:
        """Read the jobs that may have changed, in an order in which a job that comes twice gets newer."""
        wanted = self._collect_wanted()
        async with self._database.transaction() as transaction:
            rows = await read_unended(transaction, OPERATOR, CAUGHT_UP_LIMIT) if with_unended else []
            rows += await _read_ended(transaction, seconds)
            rows += await transaction.all(JOBS["newer_jobs"], ids=list(wanted), versions=list(wanted.values()))
        return rows

    def _collect_wanted(self) -> dict[UUID, int]:
        """Collect the jobs whose end somebody waits for, each with the oldest version that a follower has."""
        wanted: dict[UUID, int] = {}
        for follower in self._all():
            for job_id, version in follower.known.items():
                wanted[job_id] = min(version, wanted.get(job_id, version))
        return wanted


async def read_unended(
    transaction: Transaction, principal: Principal, limit: int = SNAPSHOT_LIMIT
) -> list[dict[str, Any]]:
    """Read the newest jobs that the principal sees and that have not ended, the oldest of them first."""
    return await transaction.all(
        JOBS["unended_jobs"], all_users=principal.is_operator, user_id=principal.user_id, limit=limit
    )


async def _read_ended(transaction: Transaction, seconds: float) -> list[dict[str, Any]]:
    """Read all jobs that have ended within the last seconds, in the order of their ends."""
    rows: list[dict[str, Any]] = []
    while not rows or len(rows) % PAGE == 0:
        last = rows[-1] if rows else {"completed_at": None, "id": None}
        page = await transaction.all(
            JOBS["ended_jobs"],
            seconds=seconds,
            after_completed_at=last["completed_at"],
            after_id=last["id"],
            limit=PAGE,
        )
        if not page:
            break
        rows += page
    return rows
