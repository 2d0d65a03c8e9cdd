"""The worker of type `nexus`: runs the hub's flows inside its own long-lived process.

Prefect's server imports this module too (entry point `prefect.collections`), so that the library is imported late.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from deployments.catalogue import WORKER_TYPE

if TYPE_CHECKING:
    from deployments.intake import Intake
    from nexus_hub.db.listen import JobChange
    from nexus_hub.jobs.store import Right
    from nexus_hub.runtime import Runtime

logger = logging.getLogger(__name__)
RELEASE_SECONDS = 10
"""The time that the jobs that are still running after the grace time have to be released."""
CONNECT_SECONDS = 2
"""Between two tries to reach Prefect when the worker starts."""
LISTEN_SECONDS = 0.2
"""Between two looks whether anybody listens there, as nobody does while both start side by side."""
POLL_JITTER = 1.5
"""Polls come up to this much later than at their interval."""


class NexusJobConfiguration(BaseJobConfiguration):
    """A run's configuration: nothing of it can change what is executed."""


class NexusWorkerResult(BaseWorkerResult):
    """How a run left the worker; Prefect has its state already."""


class NexusWorker(BaseWorker[NexusJobConfiguration, BaseVariables, NexusWorkerResult]):
    """Runs the flows of `deployments.catalogue` in this process, and no other code.

    Prefect's base gives it its life: the pool, heartbeats, the poll. It looks for runs when the bell rings: for a job
    that was handed to Prefect, a run that Prefect tells of, one that is due. The poll is the backstop of that.
    """

    type = WORKER_TYPE
    job_configuration = NexusJobConfiguration
    _description = "Runs nexus-hub's flows inside one warm process, with its connections kept open."
    _display_name = "nexus-hub"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resources = AsyncExitStack()
        self._runtime: Runtime | None = None
        self._intake: Intake | None = None
        self._loops: list[asyncio.Task[None]] = []

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """The template of a pool for this worker, which has no variables.

        Prefect's own would have its server check a schema of them for each run, an eighth of all that a run costs it.
        """
        return {}

    async def setup(self) -> None:
        """Open the runtime and Prefect's clients, which all runs of this worker share, then connect to Prefect."""
        from nexus_hub.runtime import opened
        from nexus_hub.settings import load
        from tasks.context import use

        self._runtime = await self._resources.enter_async_context(opened(load(), "worker"))
        use(self._runtime)
        await self._connect()
        await super().setup()
        if self._runs_task_group is not None:
            self._take_in(self._runtime, self._runs_task_group)
        await self._see_limits()

    async def _connect(self) -> None:
        from deployments.warm import clients

        async with get_client() as client:
            while True:
                failure = await client.api_healthcheck()
                if not isinstance(failure, httpx.ConnectError):
                    break
                await asyncio.sleep(LISTEN_SECONDS)
        while True:
            try:
                await self._resources.enter_async_context(clients())
            except (RuntimeError, httpx.HTTPError) as error:
                logger.warning("Prefect can't be used yet: %s", error)
                await asyncio.sleep(CONNECT_SECONDS)
            else:
                return

    def _take_in(self, runtime: "Runtime", group: anyio.abc.TaskGroup) -> None:
        """Start all that finds flow runs, and what has become of them."""
        from deployments import cancellation
        from deployments.hearing import STARTABLE, hear
        from deployments.intake import Intake
        from nexus_hub.catalog.refresh import LookOut

        intake = Intake(
            self.client,
            group,
            lambda: self._work_pool,
            sorted(self._work_queues),
            self._limit,
            self._take,
            self._cancel,
        )
        self._intake = intake
        runtime.listeners.append(self._noticed)
        told = dict.fromkeys(cancellation.EVENTS, self._cancel) | dict.fromkeys(STARTABLE, intake.appeared)
        loops = (
            hear(told),
            cancellation.ask(intake.running.keys, self._cancel),
            LookOut(runtime.database, runtime.dispatcher).run(),
            intake.look_when_called(),
        )
        self._loops = [asyncio.create_task(loop) for loop in loops]

    async def teardown(self, *exc_info: Any) -> None:
        """Disconnect from Prefect, then close the runtime."""
        try:
            for loop in self._loops:
                loop.cancel()
            if self._intake is not None:
                self._intake.bell.close()
            await super().teardown(*exc_info)
        finally:
            await self._resources.aclose()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: NexusJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> NexusWorkerResult:
        """Refuse: only `Worker.submit` comes here, which wants a command run; deployments have their own way in.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a worker of type nexus runs the hub's deployments only")

    async def sync_with_backend(self) -> None:
        """Send a heartbeat, and see what is new of the pool, unless Prefect is away."""
        with _patience():
            await super().sync_with_backend()
            await self._see_limits()

    async def _see_limits(self) -> None:
        """Whether a limit may hold runs back, so that each end of a run makes room for another."""
        if self._intake is not None and self._work_pool is not None:
            queues = await self.client.read_work_queues(work_pool_name=self._work_pool_name)
            limits = [self._work_pool.concurrency_limit, *(queue.concurrency_limit for queue in queues)]
            self._intake.limited = any(limit is not None for limit in limits)
            if self._intake.limited:
                self._intake.bell.ring()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due, and see what will be before the next poll, unless Prefect is away."""
        self._last_polled_time = datetime.now(UTC)
        if self._intake is not None:
            with _patience():
                return await self._intake.look(get_current_settings().worker.query_seconds * POLL_JITTER)
        return []

    def _noticed(self, change: "JobChange | None") -> None:
        """A job that waits has a run if it has changed since it was stored; None: changes may have been missed."""
        if self._intake is not None and (change is None or (change.status == "pending" and change.version > 1)):
            self._intake.bell.ring()

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing more and wait for what runs, at most the grace time; then hand the jobs of it back."""
        if self._intake is None or self._runtime is None:
            return
        self._intake.closed = True
        self._runtime.execution.close()
        if await self._ended(self._intake, grace_seconds):
            self._runtime.execution.leave()
            await self._ended(self._intake, RELEASE_SECONDS)

    async def _ended(self, intake: "Intake", seconds: float) -> bool:
        """Wait for what runs; whether something still does."""
        if not intake.running:
            return False
        _, running = await asyncio.wait(list(intake.running.values()), timeout=seconds)
        return bool(running)

    async def _take(self, flow_run: FlowRun) -> "Right":
        """Take a run by the rows of what it carries, if it can be had there."""
        from nexus_hub.errors import DatabaseUnavailable
        from nexus_hub.jobs.store import Right, take_run

        if self._runtime is None or not flow_run.parameters.keys() & {"job_id", "batch_id"}:
            return Right.UNSAID
        try:
            return await take_run(self._runtime.database, flow_run.id)
        except DatabaseUnavailable:
            return Right.UNSAID

    async def _cancel(self, flow_run_id: UUID) -> None:
        """Cancelled in Prefect: end its jobs as cancelled, wherever they are, which ends their calls and the run."""
        from nexus_hub.errors import DatabaseUnavailable
        from nexus_hub.jobs.store import cancel_flow_run

        if self._runtime is not None:
            with suppress(DatabaseUnavailable):  # it is asked for again
                await cancel_flow_run(self._runtime.database, flow_run_id)


@contextmanager
def _patience() -> Iterator[None]:
    """Get over the absence of Prefect: its own loops end the worker, with all that it runs, after a dozen failures."""
    try:
        yield
    except httpx.HTTPError as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            raise
        logger.warning("Prefect does not answer (%s); it is asked again", type(error).__name__)
