"""Shared flow runs: one carries many jobs, each with its row, its claim and its attempts; the run's cost is shared.

A process takes jobs for one run at a time, from the queue that all processes share. The run takes what comes as long as
something comes, for some seconds, and carries what it has taken to its end.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.fair_queue import FairQueue, PendingJob, Places
from nexus_hub.execution.run_report import EndedJobs, RunReport
from nexus_hub.execution.shared_work import SharedWork
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.store import JOBS
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import report_defect

SHARED_RUNS = load("shared_runs")
NOBODY = UUID(int=0)
"""The operator, in the order of owners."""

LOOK_SECONDS = 1.0
"""Between two looks at the queue, which find what no notice told of; each also renews the run's lease."""
LEASE_SECONDS = 5.0
"""A run whose process has not looked for so long takes no more jobs: others may open another one."""
LINGER_SECONDS = 1.0
"""A run with nothing to do waits so long for more."""
OPEN_SECONDS = 10.0
"""After this time another run takes over, so that limits and pauses in Prefect get their say."""
LONGEST_OPEN_SECONDS = 20.0
"""Without another run, one ends after this time."""
LOADED_JOBS = 500
"""So many jobs of each owner are read from the queue at once; fewer where there are many owners."""
KNOWN_SECONDS = 2.0
"""A removed server, or a key that was changed, may still be used so long."""
WORKER_LISTENS = "nexus-hub listen worker"
"""The name of the connection by which each worker hears of jobs, and by which the workers are counted."""
GATHER_SECONDS = 0.005
"""The time in which places get free that one statement fills, if more jobs wait than there are places."""
CLAIMED_AT_ONCE = 16
"""So many jobs are claimed by one statement: each may bring 1 MiB of arguments, which is read in one go."""
HEARD_JOBS = 2000
"""So many jobs of each owner are kept in memory; those beyond are read from the queue later."""
MOST_OWNERS = 1000
"""So many owners are looked at in one look, the others in the next ones."""
DATABASE_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is still open: whether another one takes jobs in its place, and whether there are other workers."""

    replaced: bool
    has_others: bool


class SharedRuns:
    """The shared runs of this process, and the queue that they take from; one of them takes jobs at a time.

    `open_next` has another run made, if none comes. `on_wake`, which a worker sets, calls it to look for runs.
    """

    def __init__(
        self,
        execution: Execution,
        open_next: Callable[[], None],
        places: Places | None = None,
        *,
        known_seconds: float = KNOWN_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
        open_seconds: float = OPEN_SECONDS,
    ) -> None:
        self.execution = execution
        self.open_next = open_next
        self.linger_seconds = linger_seconds
        self.open_seconds = open_seconds
        self.queue = FairQueue(places or Places())
        self.steps = execution.make_steps(known_seconds=known_seconds).with_retries()
        self.on_wake: Callable[[], None] | None = None
        self.passed_over = False
        """A run was left to other processes, and may still be there when the one that takes jobs here is closed."""
        self._running: dict[UUID, SharedRun] = {}

    @property
    def taking(self) -> "SharedRun | None":
        """The run that takes jobs here, if there is one."""
        return next((run for run in self._running.values() if run.is_open), None)

    @property
    def ending(self) -> int:
        """The number of runs here that take no more jobs: a job that hangs keeps such a one for hours."""
        return sum(not run.is_open for run in self._running.values())

    @property
    def wants_another(self) -> bool:
        """True if this process would begin another run: it takes no jobs, or has for long enough in the same run."""
        return not self.execution.draining and (self.taking is None or self.taking.is_old)

    def wants_run(self) -> bool:
        """Tell if this process would begin a run; one that is passed over is looked for again later."""
        self.passed_over |= not self.wants_another
        return self.wants_another

    def wake_worker(self) -> None:
        """Call the worker to look for runs, if this process is one."""
        if self.on_wake is not None:
            self.on_wake()

    def look_again(self) -> None:
        """Look for the run that was passed over, if there was one."""
        if self.passed_over:
            self.passed_over = False
            self.wake_worker()

    def notice(self, job: PendingJob | None) -> None:
        """Let a job that waits be taken, if a run takes jobs here; None: some may have been missed."""
        if (run := self.taking) is not None:
            run.notice(job)

    def forget(self, job_id: UUID) -> None:
        """Let a job wait no more, which has been taken, put off or ended elsewhere."""
        self.queue.remove(job_id)

    def cancel(self, flow_run_id: UUID) -> None:
        """Take no more jobs for a run that was cancelled in Prefect."""
        for run in self._running.values():
            if run.flow_run_id == flow_run_id:
                run.end_soon()

    def drain(self) -> None:
        """Take no more jobs, since the process is about to stop."""
        for run in self._running.values():
            run.end_soon()

    async def take(self, run_id: UUID, flow_run_id: UUID) -> bool:
        """Take a run for this process before it begins; False if another one has it, or it has begun or ended."""
        async with self.execution.database.transaction() as transaction:
            taken = await transaction.run(
                SHARED_RUNS["take_shared_run"], id=run_id, flow_run_id=flow_run_id, lease_seconds=LEASE_SECONDS
            )
        return bool(taken)

    async def was_taken(self, run_id: UUID) -> bool:
        """Tell if a run takes jobs in some process."""
        async with self.execution.database.transaction() as transaction:
            return await transaction.one(SHARED_RUNS["shared_run_was_taken"], id=run_id) is not None

    async def run(self, run_id: UUID, flow_run_id: UUID) -> RunReport:
        """Carry jobs in a run until there are none, or another run takes over; what it has come to."""
        run = SharedRun(self, run_id, flow_run_id)
        self._running[flow_run_id] = run
        tags = {"nexus.run.id": run_id, "nexus.flow_run.id": flow_run_id}
        try:
            with tracing.span("run.shared", attributes=tags):
                return await run.run()
        finally:
            del self._running[flow_run_id]


class SharedRun:
    """A shared run in this process: takes jobs side by side until it is closed, then waits for their ends."""

    def __init__(self, shared: SharedRuns, run_id: UUID, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self.is_open = False
        self._shared = shared
        self._execution = shared.execution
        self._database = shared.execution.database
        self._queue = shared.queue
        self.id = run_id
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._ending = shared.execution.draining
        self._must_look = True
        self._more = False
        self._crowded = False
        self._after: UUID | None = None
        """The owner after whom the next look begins."""
        self._began = self._taken_at = self._ended_at = time.monotonic()
        self._look_at = 0.0
        self._report = RunReport()
        self._work = SharedWork(self._execution, shared.steps, shared.queue, self._report.outcomes)

    @property
    def is_old(self) -> bool:
        """True once another run is to take over."""
        return time.monotonic() - self._began >= self._shared.open_seconds

    def notice(self, job: PendingJob | None) -> None:
        """Let a job be taken; None: look for those that were missed."""
        if job is None:
            self._must_look = True
        elif self._queue.count_of(job.user_id) < HEARD_JOBS:
            self._queue.add([job])
        else:
            self._more = True
        self._changed.set()

    def end_soon(self) -> None:
        """Take no more jobs, and close."""
        self._ending = True
        self._changed.set()

    def hand_over(self) -> None:
        """Take no more jobs: another run here has closed this one, and takes them from the same queue."""
        self.is_open = False
        self._changed.set()

    async def run(self) -> RunReport:
        """Take jobs until there are none to take; while the database is away it waits."""
        try:
            if await self._begin():
                await self._take_jobs()
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self.is_open = False
            for task in list(self._tasks):
                await cancel_and_wait(task)
        with suppress(DatabaseUnavailable):
            async with self._database.transaction() as transaction:
                self._report.ended = await transaction.all(JOBS["run_ended"], EndedJobs, flow_run_id=self.flow_run_id)
        self._report.seconds = time.monotonic() - self._began
        return self._report

    async def _begin(self) -> bool:
        """Begin to take jobs, in place of the run that does so here; False if this one has ended before."""
        async with self._database.transaction() as transaction:
            begun = await transaction.run(
                SHARED_RUNS["begin_shared_run"],
                id=self.id,
                flow_run_id=self.flow_run_id,
                lease_seconds=LEASE_SECONDS,
            )
            former = self._shared.taking
            if begun and former is not None:
                await transaction.run(SHARED_RUNS["close_shared_run"], id=former.id)
        if begun and former is not None:
            former.hand_over()
        self.is_open = bool(begun)
        return self.is_open

    async def _take_jobs(self) -> None:
        """Take jobs until the run is closed. A defect ends the taking alone: what was taken is carried to its end."""
        try:
            while self.is_open:
                await self._round()
        except Exception as error:
            report_defect(error)
            self._ending = True
            with suppress(Exception):
                await self._close()
            self.is_open = False

    async def _round(self) -> None:
        """Take what may be taken, look around when it is time, and wait for a change."""
        self._changed.clear()
        try:
            if self._ending or await self._look_around():
                await self._close()
                return
            if self._crowded:
                await asyncio.sleep(GATHER_SECONDS)
            if taken := self._queue.take(CLAIMED_AT_ONCE):
                self._crowded = len(taken) < CLAIMED_AT_ONCE and len(self._queue) > 0
                await self._claim(taken)
                return
        except DatabaseUnavailable:
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            return
        until = min(self._look_at, self._idle_until()) if self._is_idle() else self._look_at
        with suppress(TimeoutError):
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                await self._changed.wait()

    async def _look_around(self) -> bool:
        """Renew the lease and read the queue, when it is time; True if the run is to take no more."""
        now = time.monotonic()
        is_time = now >= self._look_at
        if not (is_time or self._must_look or (self._more and not self._queue) or self._has_lingered(now)):
            return False
        left = is_time and self._look_at > 0 and len(self._queue) > 0
        self._must_look, self._look_at = False, now + LOOK_SECONDS
        async with self._database.transaction() as transaction:
            renewal = await transaction.one(
                SHARED_RUNS["renew_shared_run"],
                OpenRun,
                id=self.id,
                lease_seconds=LEASE_SECONDS,
                worker=WORKER_LISTENS,
            )
        if renewal is None:
            self._ending = True
            return True
        await self._read_queue()
        if self._is_over(now, replaced=renewal.replaced):
            return True
        if self.is_old or (left and renewal.has_others):  # it has had its time, or another worker has places free
            self._shared.open_next()
        if self.is_old:
            self._shared.look_again()
        return False

    async def _read_queue(self) -> None:
        """Read the first jobs of each owner, in a transaction that holds no lock; the owners take turns too."""
        async with self._database.transaction() as transaction:
            waiting = await self._read_waiting(transaction)
        owners = {job.user_id or NOBODY for job in waiting}
        self._after = max(owners) if len(owners) >= MOST_OWNERS else None
        self._more = len(waiting) >= LOADED_JOBS
        self._queue.add(waiting)

    async def _read_waiting(self, transaction: Transaction) -> list[PendingJob]:
        return await transaction.all(
            SHARED_RUNS["queued_jobs"],
            PendingJob,
            after=self._after,
            most_owners=MOST_OWNERS,
            of_each=LOADED_JOBS,
            in_all=8 * LOADED_JOBS,
        )

    def _is_over(self, now: float, *, replaced: bool) -> bool:
        """Tell if it has nothing to do, or has had its time."""
        if now - self._began >= LONGEST_OPEN_SECONDS or (replaced and self.is_old):
            return True  # also if all that comes is taken at once
        return self._has_lingered(now)

    def _is_idle(self) -> bool:
        """Tell if nothing waits and nothing is under way; what hangs in an old run does not count."""
        return not self._queue and (self.is_old or not self._tasks)

    def _idle_until(self) -> float:
        return max(self._taken_at, self._ended_at) + self._shared.linger_seconds

    def _has_lingered(self, now: float) -> bool:
        return self._is_idle() and now >= self._idle_until()

    async def _close(self) -> None:
        """Close the run, unless it can be left open and a job is about to come, or has come.

        What it leaves in the queue gets another run.
        """
        had_its_time = self._ending or self.is_old
        async with self._database.transaction() as transaction:
            hold = SHARED_RUNS["await_joining" if had_its_time else "hold_shared_run"]
            held = await transaction.one(hold, id=self.id)
            waiting = await self._read_waiting(transaction)
            if not had_its_time and (held is None or waiting):
                self._queue.add(waiting)
                self._taken_at = time.monotonic()
                return
            await transaction.run(SHARED_RUNS["close_shared_run"], id=self.id)
        self.is_open = False
        self._shared.look_again()
        if self._shared.taking is None:
            self._queue.clear()
        if waiting:
            self._shared.open_next()

    async def _claim(self, taken: list[PendingJob]) -> None:
        """Claim jobs in one statement, and start to work on those that could be had."""
        begun: set[UUID] = set()
        began = time.monotonic()
        pending = {job.id: job for job in taken}
        try:
            jobs = await self._execution.claim_queued(list(pending), self.flow_run_id)
            if jobs:
                self._taken_at = time.monotonic()
            else:
                self._more = False  # somebody else holds them: the next look finds what is left
            for job in jobs:
                self._queue.charge(job.id, job.user_id)
                tracing.link(job.trace_context)
                self._start(Attempt(job, began, self.flow_run_id), pending[job.id])
                begun.add(job.id)
        finally:
            for job_id in pending.keys() - begun:
                self._queue.give_back(job_id)

    def _start(self, attempt: Attempt, pending: PendingJob) -> None:
        task = asyncio.create_task(self._work.run(attempt, pending))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._on_done(pending, done))

    def _on_done(self, pending: PendingJob, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended_at = time.monotonic()
        self._queue.give_back(pending.id)
        if (taking := self._shared.taking) is not None:
            taking._changed.set()
