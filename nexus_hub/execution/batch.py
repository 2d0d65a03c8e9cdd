"""Many jobs in one flow run: each keeps its row, its claim and its attempts; the run's cost is shared."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Transaction
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError
from nexus_hub.execution.attempt import Attempt, ClaimStale, Released
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.store import JOBS, Job
from nexus_hub.models import JobStatus
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.telemetry.bus import report_defect
from nexus_hub.telemetry.defects import describe_error

logger = logging.getLogger(__name__)

CONCURRENCY = 64
CONCURRENCY_PER_SERVER = 32
"""Half of what a connection takes, so that other calls to the server find a place."""
KNOWN_SECONDS = 2.0
"""A removed server, or a key that was changed, may still be used so long."""
DATABASE_PAUSE_SECONDS = 1.0
EMPTY_POLL_PAUSE_SECONDS = 0.25
EMPTY_POLL_LIMIT = 20
"""A run looks so often for jobs that somebody else holds on to, such as who dispatches them at this moment."""
MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """Jobs of a flow run that ended in the same way at the same server.

    `seconds` is the sum of what they took, `span` the time from the first start to the last end.
    """

    server: str | None
    status: JobStatus
    error_code: str | None
    jobs: int
    seconds: float | None
    span: float | None


@dataclass
class BatchReport:
    """Report of a run: how many jobs came to which end, and how many go on in other runs or later."""

    outcomes: Counter[str] = field(default_factory=Counter)
    ended: list[EndedJobs] = field(default_factory=list)
    """The jobs of the run that have ended, whichever process worked on it."""
    seconds: float = 0
    unfinished: bool = False
    """The worker stops, and another one has to go on."""

    @property
    def jobs(self) -> int:
        """The number of jobs that have ended in the run."""
        return sum(ended.jobs for ended in self.ended)

    @property
    def deferred(self) -> int:
        """The number of jobs that go on without the run: as another attempt, or when their server's limit allows it."""
        return self.outcomes["requeued"] + self.outcomes["snoozed"]

    def summary(self) -> str:
        """Say it in a few words."""
        ends: Counter[str] = Counter()
        for ended in self.ended:
            ends[ended.status] += ended.jobs
        words = [f"{count} {status}" for status, count in ends.most_common()]
        return ", ".join([*words, *([f"{self.deferred} go on later"] if self.deferred else [])]) or "nothing to do"


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that waits, with its server and the user on whose behalf."""

    id: UUID
    server_id: str
    user_id: UUID | None


class FairQueue:
    """The jobs of a batch that nobody has taken yet; the server with the least under way is next."""

    def __init__(self, per_server: int) -> None:
        self._queues: dict[str, deque[PendingJob]] = {}
        self._under_way: Counter[str] = Counter()
        self._per_server = per_server

    def __bool__(self) -> bool:
        return bool(self._queues)

    def refill(self, jobs: Iterable[PendingJob]) -> None:
        """Let these be all that wait."""
        self._queues.clear()
        for job in jobs:
            self._queues.setdefault(job.server_id, deque()).append(job)

    def take(self, most: int) -> list[PendingJob]:
        """Take as many as may begin now; each counts as under way at its server until `give_back`."""
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

    def give_back(self, job: PendingJob) -> None:
        """Count it as under way no more."""
        self._under_way[job.server_id] -= 1

    def drop(self, like: PendingJob) -> list[UUID]:
        """Forget what waits for the same server on behalf of the same user; give those jobs' ids."""
        queue = self._queues.pop(like.server_id, deque())
        if kept := deque(job for job in queue if job.user_id != like.user_id):
            self._queues[like.server_id] = kept
        return [job.id for job in queue if job.user_id == like.user_id]


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
        self._steps = execution.make_steps(known_seconds=known_seconds).with_retries()
        self._waiting = FairQueue(per_server)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._empty_polls = 0
        self._report = BatchReport()

    async def run(self) -> BatchReport:
        """Run the batch, and report what it has come to. While the database is away it waits."""
        began = time.monotonic()
        try:
            while not self._execution.draining and await self._round():
                pass
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in list(self._tasks):
                await cancel_and_wait(task)
        self._report.unfinished = self._execution.draining
        with suppress(DatabaseUnavailable):
            async with self._database.transaction() as transaction:
                self._report.ended = await transaction.all(JOBS["run_ended"], EndedJobs, flow_run_id=self._flow_run_id)
        self._report.seconds = time.monotonic() - began
        return self._report

    async def _round(self) -> bool:
        """Begin what may begin, or wait for a change; False once there is nothing more to do."""
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
        """Allow one more look, after a pause, unless too many have found only what somebody else holds on to."""
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
        began = time.monotonic()
        try:
            async with self._database.transaction() as transaction:
                if not taken:
                    await self._look(transaction)
                    taken = self._waiting.take(self._free())
                pending = {job.id: job for job in taken}
                jobs = await transaction.all(
                    JOBS["claim_batch"],
                    Job,
                    ids=list(pending),
                    batch_id=self._batch_id,
                    flow_run_id=self._flow_run_id,
                    lease_seconds=self._execution.lease_seconds,
                )
            for job in jobs:
                self._start(Attempt(job, began, self._flow_run_id), pending[job.id])
                begun.add(job.id)
        finally:
            for one in taken:
                if one.id not in begun:
                    self._waiting.give_back(one)
        return bool(taken)

    async def _look(self, transaction: Transaction) -> None:
        self._empty_polls += 1
        self._waiting.refill(await transaction.all(JOBS["batch_jobs"], PendingJob, batch_id=self._batch_id))

    def _free(self) -> int:
        return self._concurrency - len(self._tasks)

    def _start(self, attempt: Attempt, pending: PendingJob) -> None:
        self._empty_polls = 0
        task = asyncio.create_task(self._run_job(attempt, pending))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._on_done(pending, done))

    def _on_done(self, pending: PendingJob, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.give_back(pending)
        self._changed.set()

    async def _run_job(self, attempt: Attempt, pending: PendingJob) -> None:
        try:
            with self._execution.hold(attempt):
                outcome = await self._work(attempt, pending)
        except Exception as error:  # the lease runs out, and the rescuer decides
            logger.warning("a job of a batch could not be written down: %s", describe_error(error))
            outcome = "unrecorded"
        self._report.outcomes[outcome] += 1

    async def _work(self, attempt: Attempt, pending: PendingJob) -> str:
        try:
            if wait := await self._steps.run(attempt):
                return await self._snooze(attempt, pending, wait)
        except Released:
            if await self._execution.snooze(attempt, 0) is not None:
                return "released"
            attempt.failure = ClaimStale()
        except HubError as error:
            attempt.failure = error
        except Exception as error:
            report_defect(error, attempt.tags)
            attempt.failure = InternalError()
        return await self._execution.record(attempt)

    async def _snooze(self, attempt: Attempt, pending: PendingJob, wait: float) -> str:
        """Over the limit, let the job leave, and those behind it, a minute's worth of them for each minute."""
        async with self._database.transaction() as transaction:
            snoozed = await transaction.run(JOBS["snooze_batch_job"], delay=wait, **attempt.claim)
        if attempt.call is not None:
            await self._snooze_waiting(pending, attempt.call.limits, wait)
        if snoozed:
            return "snoozed"
        attempt.failure = ClaimStale()
        return await self._execution.record(attempt)

    async def _snooze_waiting(self, like: PendingJob, limits: Limits, wait: float) -> None:
        jobs = self._waiting.drop(like)
        quota = min(limit for limit in (limits.per_minute, limits.per_user) if limit is not None)
        delays = [wait + MINUTE_SECONDS * (number // quota) for number in range(len(jobs))]
        if jobs:
            async with self._database.transaction() as transaction:
                self._report.outcomes["snoozed"] += await transaction.run(
                    JOBS["snooze_waiting_jobs"], ids=jobs, delays=delays, batch_id=self._batch_id
                )
