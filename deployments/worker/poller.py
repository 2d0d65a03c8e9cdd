"""How the worker takes flow runs: one look, and the flow runs here. Prefect is asked for little else."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, WorkPool
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import Abort, ObjectNotFound, Pause
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.engine import propose_state

from deployments.worker.engine import execute
from deployments.worker.policy import Refused, RunPermit, RunPolicy
from deployments.worker.wakeup import Wakeup
from nexus_hub.jobs.store import Ownership
from nexus_hub.telemetry.defects import describe_error

logger = logging.getLogger(__name__)
TAKING_SECONDS = 2.0
"""How long the next look waits for the last one's runs to count as taken."""
BUSY_SECONDS = 0.1
"""How long what is rung for gathers while other runs are at work, so that one look finds several."""
NOTICE_GRACE_SECONDS = 0.2
"""How long a run that Prefect tells of may be taken in another way before it is looked for."""
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
    wakeup: Wakeup = field(default_factory=Wakeup)
    running: dict[UUID, "asyncio.Task[Any]"] = field(default_factory=dict)
    closed: bool = False
    """Nothing more is taken."""
    limited: bool = False
    """A limit of the pool or of a queue may hold runs back."""
    _polling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _policy: RunPolicy = field(default_factory=RunPolicy)
    _left: bool = False
    """More may be due than there was room for."""
    _own: deque[UUID] = field(default_factory=lambda: deque(maxlen=1000))
    """Runs that Prefect will tell of, and that need no look."""

    async def poll_when_woken(self) -> None:
        """Look each time the bell rings, until cancelled."""
        while True:
            await self.wakeup.wait()
            if self.running:
                await asyncio.sleep(BUSY_SECONDS)
            try:
                await self.poll()
            except Exception as error:  # whatever it is, the poll looks again
                logger.info("a look for flow runs ended by %s", type(error).__name__)

    async def notice(self, flow_run_id: UUID) -> None:
        """Prefect tells of a run that can be taken, or will be: most are a job's, whose notice rings at once."""
        asyncio.get_running_loop().call_later(NOTICE_GRACE_SECONDS, self._wake_unless_own, flow_run_id)

    def _wake_unless_own(self, flow_run_id: UUID) -> None:
        if flow_run_id in self._own:
            self._own.remove(flow_run_id)
        elif self._polling.locked():
            asyncio.get_running_loop().call_later(NOTICE_GRACE_SECONDS, self._wake_unless_own, flow_run_id)
        else:
            self.wakeup.wake()

    async def poll(self, ahead: float = 0) -> list[FlowRun]:
        """Take what is due; the bell will ring for what is due within the seconds ahead.

        One look at a time, which ends once its runs are Pending or Running: only those stand against the limits of pool
        and queues, which a look before that would exceed.
        """
        async with self._polling:
            self.wakeup.clear()
            pool = self.pool()
            room = POLL_LIMIT if self.limit is None else min(self.limit - len(self.running), POLL_LIMIT)
            self._left = room <= 0
            if self.closed or pool is None or self._left:
                return []
            now = datetime.now(UTC)
            found = await self._found(pool, now + timedelta(seconds=ahead), room)
            self._left = len(found) == room
            due = [one for one in found if _due(one) <= now and one.id not in self.running]
            for one in found:
                if _due(one) > now:
                    self.wakeup.wake_at(_due(one))
            await self._begin(due, pool.base_job_template)
            return due

    async def _found(self, pool: WorkPool, before: datetime, room: int) -> list[FlowRun]:
        asked = {"work_queue_names": self.queues, "scheduled_before": before.isoformat(), "limit": room}
        try:
            answer = await self.client.request(
                "POST", "/work_pools/{name}/get_scheduled_flow_runs", path_params={"name": pool.name}, json=asked
            )
        except ObjectNotFound:
            return []
        return [one.flow_run for one in WorkerFlowRunResponse.model_validate_list(answer.json())]

    async def _begin(self, due: list[FlowRun], template: dict[str, Any]) -> None:
        decided = [asyncio.Event() for _ in due]
        for flow_run, event in zip(due, decided, strict=True):
            self.group.start_soon(self._carry_out, flow_run, template, event)
        if due:
            waiting = [asyncio.create_task(event.wait()) for event in decided]
            _, undecided = await asyncio.wait(waiting, timeout=TAKING_SECONDS)
            for task in undecided:
                task.cancel()

    async def _carry_out(self, flow_run: FlowRun, template: dict[str, Any], decided: asyncio.Event) -> None:
        if task := asyncio.current_task():
            self.running[flow_run.id] = task
        self._own.append(flow_run.id)
        try:
            permit = await self._permitted(flow_run, template)
            if permit is not None and await self._ours(flow_run, permit):
                state = await execute(permit.deployed, flow_run, decided.set)
                if state.is_cancelling():
                    state = await self._cancelled(flow_run.id)
                self._wait_for(state, flow_run.id)
        except Refused as refusal:
            await self._crash(flow_run, str(refusal))
        except (Abort, Pause):  # signals, which must not reach the other runs
            logger.info("Prefect took back the run %s", flow_run.id)
        except Exception as error:  # its message may hold anything
            logger.warning("the run %s ended by %s", flow_run.id, describe_error(error))
            await self._crash(flow_run, f"the worker met a {type(error).__name__}")
        finally:
            decided.set()
            self.running.pop(flow_run.id, None)
            if self._left or self.limited:
                self.wakeup.wake()

    async def _permitted(self, flow_run: FlowRun, template: dict[str, Any]) -> RunPermit | None:
        """What it may run; None if Prefect can't say now: it stays scheduled, and the poll finds it again."""
        try:
            return await self._policy.of(flow_run, self.client, template)
        except httpx.HTTPError as error:
            logger.info("the run %s is left for later: %s", flow_run.id, type(error).__name__)
            return None

    async def _ours(self, flow_run: FlowRun, permit: RunPermit) -> bool:
        """Whether it is ours to run: by the row of a new job, which spares Prefect a state, or by the state Pending."""
        right = Ownership.UNKNOWN if permit.limited else await self.take(flow_run)
        return right is Ownership.ACQUIRED or (right is Ownership.UNKNOWN and await self._taken(flow_run))

    async def _taken(self, flow_run: FlowRun) -> bool:
        """Whether the run is Pending and ours; one that waits for a slot of its deployment is not."""
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=flow_run.id)
        except Pause:
            return False
        self._wait_for(state, flow_run.id)
        return state.is_pending()

    async def _cancelled(self, flow_run_id: UUID) -> State[Any]:
        """End a run that was cancelled before it began, or so late that it ended otherwise: it can't end like that."""
        await self.cancel(flow_run_id)
        return await propose_state(self.client, Cancelled(), flow_run_id=flow_run_id)

    def _wait_for(self, state: State[Any], flow_run_id: UUID) -> None:
        """Look again when the run is due that was put off."""
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
            logger.warning("the run %s could not be given up: %s", flow_run.id, type(error).__name__)


def _due(flow_run: FlowRun) -> datetime:
    return flow_run.next_scheduled_start_time or datetime.min.replace(tzinfo=UTC)
