"""Many jobs carried by one flow run: each keeps its row, its claim and its attempts; the run's cost is shared."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.retries import UPSTREAM_PAUSES
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Transaction
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError, UpstreamUnavailable
from nexus_hub.execution.attempt import Attempt, ClaimStale, Released
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.store import JOBS, readable
from nexus_hub.rate_limit.limiter import Limits

logger = logging.getLogger(__name__)

CONCURRENCY = 64
CONCURRENCY_PER_SERVER = 32
"""Half of what a connection takes, so that other calls to the server find a place."""
KNOWN_SECONDS = 2.0
"""How long a removed server, or a key that was changed, may still be used."""
DATABASE_PAUSE_SECONDS = 1.0
EMPTY_POLL_PAUSE_SECONDS = 0.25
EMPTY_POLL_LIMIT = 20
"""How often a run looks for jobs that somebody else holds on to, such as who hands them over at this moment."""
MINUTE_SECONDS = 60.0


@dataclass
class BatchReport:
    """What a run has carried: how many jobs came to which end, and how many go on in other runs or later."""

    outcomes: Counter[str] = field(default_factory=Counter)
    ended: list[dict[str, Any]] = field(default_factory=list)
    """How the jobs of the run have ended, by server, status and error code, whichever process worked on it."""
    seconds: float = 0
    unfinished: bool = False
    """Whether the worker stops, and another one has to go on."""

    @property
    def jobs(self) -> int:
        """How many jobs have ended in the run."""
        return sum(row["jobs"] for row in self.ended)

    @property
    def left(self) -> int:
        """How many jobs have left the run: for another attempt, or until their server's limit lets them through."""
        return self.outcomes["requeued"] + self.outcomes["postponed"]

    def summary(self) -> str:
        """In a few words."""
        ends: Counter[str] = Counter()
        for row in self.ended:
            ends[row["status"]] += row["jobs"]
        words = [f"{count} {status}" for status, count in ends.most_common()]
        return ", ".join([*words, *([f"{self.left} go on later"] if self.left else [])]) or "nothing to do"


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that waits: of which server, on whose behalf."""

    job_id: UUID
    server: str
    user: UUID | None


class FairQueue:
    """The jobs of a batch that nobody has taken yet; the server with the least under way is next."""

    def __init__(self, per_server: int) -> None:
        self._queues: dict[str, deque[PendingJob]] = {}
        self._under_way: Counter[str] = Counter()
        self._per_server = per_server

    def __bool__(self) -> bool:
        return bool(self._queues)

    def refill(self, places: Iterable[PendingJob]) -> None:
        """Let these be all that wait."""
        self._queues.clear()
        for place in places:
            self._queues.setdefault(place.server, deque()).append(place)

    def take(self, most: int) -> list[PendingJob]:
        """As many as may begin now; each counts as under way at its server until `give_back`."""
        taken: list[PendingJob] = []
        while len(taken) < most:
            free = [server for server in self._queues if self._under_way[server] < self._per_server]
            if not free:
                break
            server = min(free, key=self._under_way.__getitem__)
            taken.append(self._queues[server].popleft())
            self._under_way[server] += 1
            if not self._queues[server]:
                del self._queues[server]
        return taken

    def give_back(self, place: PendingJob) -> None:
        """It is not under way any more."""
        self._under_way[place.server] -= 1

    def drop(self, like: PendingJob) -> list[UUID]:
        """Forget what waits for the same server on behalf of the same user; which jobs those are."""
        queue = self._queues.pop(like.server, deque())
        if kept := deque(place for place in queue if place.user != like.user):
            self._queues[like.server] = kept
        return [place.job_id for place in queue if place.user == like.user]


class BatchRunner:
    """Works on one batch: takes jobs, runs them side by side, and ends when nothing is left that it can take."""

    def __init__(
        self,
        execution: Execution,
        batch_id: UUID,
        flow_run_id: UUID,
        *,
        concurrency: int = CONCURRENCY,
        per_server: int = CONCURRENCY_PER_SERVER,
        known_seconds: float = KNOWN_SECONDS,
    ) -> None:
        self._execution = execution
        self._database = execution.database
        self._batch_id = batch_id
        self._flow_run_id = flow_run_id
        self._concurrency = concurrency
        self._known = ServerCache(execution.database, execution.servers, seconds=known_seconds)
        self._waiting = FairQueue(per_server)
        self._held: dict[UUID, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._empty_polls = 0
        self._report = BatchReport()

    async def run(self) -> BatchReport:
        """Carry the batch; what it has come to. While the database is away it waits."""
        began = time.monotonic()
        loops = [asyncio.create_task(loop) for loop in (self._beat(), self._write_progress())]
        try:
            while not self._execution.closing and await self._round():
                pass
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in (*loops, *self._tasks):
                await cancel_and_wait(task)
        self._report.unfinished = self._execution.closing
        self._report.ended = await self._ended()
        self._report.seconds = time.monotonic() - began
        return self._report

    async def _round(self) -> bool:
        """Begin what may begin, or wait for a change; whether there may be more to do."""
        self._changed.clear()
        must_look = not self._waiting and not self._tasks
        if must_look and not await self._may_look():
            return False
        taken = self._waiting.take(self._free())
        try:
            if must_look or taken:
                return await self._begin(taken)
        except DatabaseUnavailable:
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            return True
        if self._tasks:
            await self._changed.wait()
        return True

    async def _may_look(self) -> bool:
        """Whether to look once more, after a pause, though the last looks found only what somebody else holds on to."""
        if self._empty_polls > EMPTY_POLL_LIMIT:
            return False
        if self._empty_polls:
            await asyncio.sleep(EMPTY_POLL_PAUSE_SECONDS)
        return True

    async def _begin(self, taken: list[PendingJob]) -> bool:
        """Claim jobs in one statement, and start to work on those that could be had; False if there are none.

        If none are given, what is left of the batch is looked for in the same transaction.
        """
        begun: set[UUID] = set()
        try:
            async with self._database.transaction() as transaction:
                if not taken:
                    await self._look(transaction)
                    taken = self._waiting.take(self._free())
                places = {place.job_id: place for place in taken}
                rows = await transaction.all(
                    JOBS["claim_batch"],
                    ids=list(places),
                    batch_id=self._batch_id,
                    flow_run_id=self._flow_run_id,
                    lease_seconds=self._execution.lease_seconds,
                )
            for row in rows:
                self._start(Attempt(readable(row)), places[row["id"]])
                begun.add(row["id"])
        finally:
            for place in taken:
                if place.job_id not in begun:
                    self._waiting.give_back(place)
        return bool(taken)

    async def _look(self, transaction: Transaction) -> None:
        self._empty_polls += 1
        rows = await transaction.all(JOBS["batch_jobs"], batch_id=self._batch_id)
        self._waiting.refill(PendingJob(row["id"], row["server_id"], row["user_id"]) for row in rows)

    def _free(self) -> int:
        return self._concurrency - len(self._tasks)

    def _start(self, attempt: Attempt, place: PendingJob) -> None:
        self._empty_polls = 0
        self._held[attempt.id] = self._execution.held[attempt.id] = attempt
        if self._execution.leaving:
            attempt.leave()
        task = asyncio.create_task(self._carry(attempt, place))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(attempt, place, done))

    def _over(self, attempt: Attempt, place: PendingJob, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        del self._held[attempt.id]
        self._execution.held.pop(attempt.id, None)
        self._waiting.give_back(place)
        self._changed.set()

    async def _carry(self, attempt: Attempt, place: PendingJob) -> None:
        try:
            outcome = await self._work(attempt, place)
        except Exception as error:  # the lease runs out, and the sweep decides
            logger.warning("a job of a batch could not be written down: %s", type(error).__name__)
            outcome = "lost"
        self._report.outcomes[outcome] += 1

    async def _work(self, attempt: Attempt, place: PendingJob) -> str:
        try:
            await self._execution.open(attempt, self._known)
            if wait := await self._execution.admit(attempt):
                return await self._put_off(attempt, place, wait)
            await self._call(attempt)
        except Released:
            if await self._execution.snooze(attempt, 0) is not None:
                return "handed back"
            attempt.failure = ClaimStale()
        except HubError as error:
            attempt.failure = error
        except Exception:
            attempt.failure = InternalError()
        return await self._execution.record(attempt)

    async def _call(self, attempt: Attempt) -> None:
        for pause in UPSTREAM_PAUSES:
            try:
                await self._execution.call(attempt)
            except UpstreamUnavailable as error:
                if error.retry_after is not None:
                    raise
            else:
                return
            await asyncio.sleep(pause)
        await self._execution.call(attempt)

    async def _put_off(self, attempt: Attempt, place: PendingJob, wait: float) -> str:
        """Over the limit: the job leaves, and so do those behind it, a minute's worth of them for each minute."""
        async with self._database.transaction() as transaction:
            left = await transaction.run(JOBS["snooze_batch_job"], delay=wait, **attempt.claim)
        await self._put_off_waiting(place, attempt.limits, wait)
        if left:
            return "postponed"
        attempt.failure = ClaimStale()
        return await self._execution.record(attempt)

    async def _put_off_waiting(self, like: PendingJob, limits: Limits, wait: float) -> None:
        jobs = self._waiting.drop(like)
        quota = min(limit for limit in (limits.per_minute, limits.per_user) if limit is not None)
        delays = [wait + MINUTE_SECONDS * (number // quota) for number in range(len(jobs))]
        if jobs:
            async with self._database.transaction() as transaction:
                self._report.outcomes["postponed"] += await transaction.run(
                    JOBS["snooze_waiting_jobs"], ids=jobs, delays=delays, batch_id=self._batch_id
                )

    async def _beat(self) -> None:
        """Renew all leases; what may be repeated ends before somebody else repeats it."""
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(self._execution.heartbeat_seconds)
            began, held = time.monotonic(), list(self._held.values())
            try:
                async with asyncio.timeout(self._execution.heartbeat_seconds):
                    renewed = await self._execution.renew(held)
                renewed_at = began
                lost = [attempt for attempt in held if attempt.claim_id not in renewed]
            except Exception as error:  # whatever it is, the leases go on running out
                logger.warning("the leases of a batch could not be renewed: %s", type(error).__name__)
                left = self._execution.lease_seconds - self._execution.heartbeat_seconds
                silent = time.monotonic() - renewed_at
                lost = [attempt for attempt in held if attempt.repeatable and min(attempt.seconds, silent) > left]
            for attempt in lost:
                attempt.lose()

    async def _write_progress(self) -> None:
        while True:
            await asyncio.sleep(self._execution.progress_seconds)
            for attempt in [one for one in self._held.values() if one.has_news.is_set()]:
                attempt.has_news.clear()
                with suppress(DatabaseUnavailable):
                    await self._execution.note_progress(attempt)

    async def _ended(self) -> list[dict[str, Any]]:
        with suppress(DatabaseUnavailable):
            async with self._database.transaction() as transaction:
                return await transaction.all(JOBS["run_ended"], flow_run_id=self._flow_run_id)
        return []
