"""Polls the work pool and runs due flow runs in this process. Prefect is asked for little else."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, WorkPool
from prefect.exceptions import Abort, ObjectNotFound, Pause
from prefect.states import Cancelled, Crashed, Pending

from deployments.worker.engine import execute
from deployments.worker.policy import OfAnotherRelease, Refused, RunPermit, RunPolicy
from deployments.worker.prefect_internals import propose_state, read_scheduled_runs
from deployments.worker.wakeup import Wakeup
from nexus_hub.clock import RemoteClock
from nexus_hub.orchestration.ownership import Ownership
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.loops import outlasting

logger = logging.getLogger(__name__)
TAKING_SECONDS = 2.0
"""Longest wait of the next poll for the last one's runs to count as taken."""
BUSY_SECONDS = 0.1
"""Pause in which calls gather while other runs are at work, so that one poll finds several."""
NOTICE_GRACE_SECONDS = 0.2
"""Time in which a run that Prefect tells of may be taken in another way, before it is polled for."""
LEFT_SECONDS = 300.0
"""Time that workers of another release have to take a run that this one can't carry out, once it was seen here."""
POLL_LIMIT = 200
"""As many runs as Prefect gives in one answer."""


@dataclass
class Poller:
    """Takes what is due in a pool, and runs it in the task group."""

    client: PrefectClient
    group: anyio.abc.TaskGroup
    pool: Callable[[], WorkPool | None]
    """None: it is not known yet."""
    queues: list[str]
    limit: int | None
    """Of the runs that this process runs at once."""
    take: Callable[[FlowRun], Awaitable[Ownership]]
    """Takes a run, if it can be had without Prefect."""
    cancel: Callable[[UUID], Awaitable[None]]
    """Ends the jobs of a run as cancelled."""
    ending: Callable[[], int] = lambda: 0
    """So many of the runs take no more jobs, and only wait for the ends of those they have: they need no room."""
    wants: Callable[[FlowRun], bool] = lambda _: True
    """Tells if this process would carry out a run now; others are left to other processes."""
    clock: RemoteClock = field(default_factory=RemoteClock)
    """Prefect's, which says when a run is due."""
    wakeup: Wakeup = field(init=False)
    running: dict[UUID, "asyncio.Task[Any]"] = field(default_factory=dict)
    closed: bool = False
    """Nothing more is taken."""
    limited: bool = False
    """A limit of the pool or of a queue may hold runs back."""
    _polling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _policy: RunPolicy = field(default_factory=RunPolicy)
    _more: bool = False
    """More may be due than there was room for."""
    _own: deque[UUID] = field(default_factory=lambda: deque(maxlen=1000))
    """Runs that Prefect will tell of, and that need no poll."""
    _left: dict[UUID, float] = field(default_factory=dict)
    """Since when runs have been left to workers of another release."""

    def __post_init__(self) -> None:
        self.wakeup = Wakeup(self.clock)

    async def poll_when_woken(self) -> None:
        """Poll each time the worker is woken, until cancelled."""
        while True:
            await self.wakeup.wait()
            if self.running:
                await asyncio.sleep(BUSY_SECONDS)
            with outlasting("poll"):  # the next poll finds the runs again
                await self.poll()

    async def notice(self, flow_run_id: UUID) -> None:
        """Take note of a run that Prefect tells of: most are a job's, whose own notice wakes the worker at once."""
        asyncio.get_running_loop().call_later(NOTICE_GRACE_SECONDS, self._wake_unless_own, flow_run_id)

    def _wake_unless_own(self, flow_run_id: UUID) -> None:
        if flow_run_id in self._own:
            self._own.remove(flow_run_id)
        elif self._polling.locked():
            asyncio.get_running_loop().call_later(NOTICE_GRACE_SECONDS, self._wake_unless_own, flow_run_id)
        else:
            self.wakeup.wake()

    async def poll(self, ahead: float = 0) -> list[FlowRun]:
        """Take the runs that are due; those that will be within the seconds ahead wake the worker then.

        One poll at a time, which ends once its runs are Pending or Running: only those stand against the limits of pool
        and queues, which a poll before that would exceed.
        """
        async with self._polling:
            self.wakeup.clear()
            pool = self.pool()
            taken = len(self.running) - self.ending()
            room = POLL_LIMIT if self.limit is None else min(self.limit - taken, POLL_LIMIT)
            self._more = room <= 0
            if self.closed or pool is None or self._more:
                return []
            found = await self._find(pool, ahead, room)
            now = self.clock.now()
            self._more = len(found) == room
            due = [one for one in found if _due(one) <= now and one.id not in self.running]
            for one in found:
                if _due(one) > now:
                    self.wakeup.wake_at(_due(one))
            await self._begin(due, pool.base_job_template)
            return due

    async def _find(self, pool: WorkPool, ahead: float, room: int) -> list[FlowRun]:
        try:
            return await read_scheduled_runs(self.client, pool, self.queues, ahead, room, self.clock)
        except ObjectNotFound:
            return []

    async def _begin(self, due: list[FlowRun], template: dict[str, Any]) -> None:
        decided = [asyncio.Event() for _ in due]
        for flow_run, event in zip(due, decided, strict=True):
            self.group.start_soon(self._run, flow_run, template, event)
        if due:
            waiting = [asyncio.create_task(event.wait()) for event in decided]
            _, undecided = await asyncio.wait(waiting, timeout=TAKING_SECONDS)
            for task in undecided:
                task.cancel()

    async def _run(self, flow_run: FlowRun, template: dict[str, Any], decided: asyncio.Event) -> None:
        if task := asyncio.current_task():
            self.running[flow_run.id] = task
        self._own.append(flow_run.id)
        left = False
        permit: RunPermit | None = None
        try:
            permit = await self._permit(flow_run, template)
            if permit is not None and await self._acquire(flow_run, permit):
                state = await execute(permit.deployed, flow_run, decided.set)
                if state.is_cancelling():
                    state = await self._end_cancelled(flow_run.id)
                self._wake_when_due(state, flow_run.id)
        except Refused as refusal:
            await self._crash(flow_run, str(refusal))
        except OfAnotherRelease as stranger:
            left = await self._leave(flow_run, str(stranger))
        except (Abort, Pause):  # signals, which must not reach the other runs
            logger.info("left the run %s alone: another worker has it, or it waits or is over", flow_run.id)
        except Exception as error:  # its message may hold anything
            # A poll finds it again, or who looks for runs of jobs without a process, as nobody does for others.
            if left := permit is not None and "job" in permit.deployed.tags and _shows_no_answer(error):
                logger.warning("the run %s is left, since Prefect fails: %s", flow_run.id, describe_error(error))
            else:
                logger.warning("the run %s ended by %s", flow_run.id, describe_error(error))
                await self._crash(flow_run, f"the worker met a {type(error).__name__}")
        finally:
            decided.set()
            self.running.pop(flow_run.id, None)
            if (self._more or self.limited) and not left:
                self.wakeup.wake()

    async def _leave(self, flow_run: FlowRun, why: str) -> bool:
        """Leave a run to the workers of another release; crash one that was left for long. True if it was left.

        A run that was due long ago, since nobody was there to take it, has the same time as any other.
        """
        now = time.monotonic()
        self._left = {run: since for run, since in self._left.items() if now - since < 2 * LEFT_SECONDS}
        if now - self._left.setdefault(flow_run.id, now) < LEFT_SECONDS:
            logger.info("the run %s is left to workers of another release: %s", flow_run.id, why)
            return True
        del self._left[flow_run.id]
        await self._crash(flow_run, f"{why}, and no worker of another one has taken it")
        return False

    async def _permit(self, flow_run: FlowRun, template: dict[str, Any]) -> RunPermit | None:
        """Ask the policy; None if Prefect can't say now: the run stays scheduled, and a poll finds it again."""
        try:
            return await self._policy.permit(flow_run, self.client, template)
        except httpx.HTTPError as error:
            logger.info("the run %s is tried again later: %s", flow_run.id, describe_error(error))
            return None

    async def _acquire(self, flow_run: FlowRun, permit: RunPermit) -> bool:
        """Acquire a run by the row of a new job, which spares Prefect a state, or by the state Pending; True if had."""
        if not self.wants(flow_run):
            return False
        ownership = Ownership.UNKNOWN if permit.limited else await self.take(flow_run)
        if ownership is Ownership.UNKNOWN:
            return await self._propose_pending(flow_run)
        return ownership is Ownership.ACQUIRED

    async def _propose_pending(self, flow_run: FlowRun) -> bool:
        """True if the run is Pending and ours; one that waits for a slot of its deployment is not."""
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=flow_run.id)
        except Pause:
            return False
        self._wake_when_due(state, flow_run.id)
        return state.is_pending()

    async def _end_cancelled(self, flow_run_id: UUID) -> State[Any]:
        """End a run that was cancelled before it began, or so late that it ended otherwise: it can't end like that."""
        await self.cancel(flow_run_id)
        return await propose_state(self.client, Cancelled(), flow_run_id=flow_run_id)

    def _wake_when_due(self, state: State[Any], flow_run_id: UUID) -> None:
        """Poll again when a run is due that waits."""
        due = state.state_details.scheduled_time
        if state.is_scheduled() and due is not None:
            self._own.append(flow_run_id)
            self.wakeup.wake_at(due)

    async def _crash(self, flow_run: FlowRun, why: str) -> None:
        """Tell Prefect that a run will not go on; if that fails too, the job's row decides."""
        message = f"Flow run could not be executed: {why}"
        try:
            await propose_state(self.client, Crashed(message=message), flow_run_id=flow_run.id)
        except (Abort, Pause):
            return
        except Exception as error:
            logger.warning("the run %s could not be crashed: %s", flow_run.id, describe_error(error))


def _due(flow_run: FlowRun) -> datetime:
    return flow_run.next_scheduled_start_time or datetime.min.replace(tzinfo=UTC)


def _shows_no_answer(error: BaseException | None) -> bool:
    """True if Prefect gave no answer, or an error of its own, over which its engine may have met another one."""
    while error is not None:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.is_server_error
        if isinstance(error, httpx.TransportError):
            return True
        error = error.__cause__ or error.__context__
    return False
