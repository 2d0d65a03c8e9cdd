"""The worker of type `nexus`: runs the hub's flows inside its own long-lived process.

Prefect's server imports this module too (entry point `prefect.collections`), so that the library is imported late.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from deployments.registry import WORKER_TYPE
from deployments.worker import prefect_internals

if TYPE_CHECKING:
    from deployments.worker.poller import Poller
    from deployments.worker.probes import Phase
    from nexus_hub.live.listener import JobChange
    from nexus_hub.orchestration.ownership import Ownership
    from nexus_hub.runtime import Runtime

from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.loops import keep_running, outlasting

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
    """The end of a run in the worker; Prefect has its state already."""


class NexusWorker(BaseWorker[NexusJobConfiguration, BaseVariables, NexusWorkerResult]):
    """Runs the flows of `deployments.registry` in this process, and no other code.

    Prefect's base gives it its life: the pool, heartbeats, the regular poll. It polls when it is woken, too: for a job
    that was dispatched, a run that Prefect tells of, one that is due. The regular poll is the backstop of that.
    """

    type = WORKER_TYPE
    job_configuration = NexusJobConfiguration
    _description = "Runs nexus-hub's flows inside one warm process, with its connections kept open."
    _display_name = "nexus-hub"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resources = AsyncExitStack()
        self._runtime: Runtime | None = None
        self._poller: Poller | None = None
        self._loops: list[asyncio.Task[None]] = []

    @property
    def _phase(self) -> "Phase":
        if self._poller is None:
            return "starting"
        return "draining" if self._poller.closed else "ready"

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """The template of a pool for this worker, which has no variables.

        Prefect's own would have its server check a schema of them for each run, an eighth of all that a run costs it.
        """
        return {}

    async def setup(self) -> None:
        """Open the runtime and Prefect's clients, which all runs of this worker share, then connect to Prefect."""
        from deployments.worker.metrics import exposing
        from deployments.worker.probes import make_probes
        from nexus_hub import memory
        from nexus_hub.runtime import open_runtime
        from nexus_hub.settings import load
        from tasks.context import use

        self._runtime = await self._resources.enter_async_context(open_runtime(load(), "worker"))
        use(self._runtime)
        probes = make_probes(self._runtime, lambda: self._phase)
        await self._resources.enter_async_context(exposing(self._runtime, probes))
        await self._connect()
        await super().setup()
        if (group := prefect_internals.get_task_group(self)) is not None:
            self._start_loops(self._runtime, group)
        await self._read_limits()
        memory.keep_started()

    async def _connect(self) -> None:
        async with get_client() as client:
            while True:
                failure = await client.api_healthcheck()
                if not isinstance(failure, httpx.ConnectError):
                    break
                await asyncio.sleep(LISTEN_SECONDS)
        while True:
            try:
                await self._resources.enter_async_context(prefect_internals.share_clients())
            except (RuntimeError, httpx.HTTPError) as error:
                logger.warning("Prefect can't be used yet: %s", describe_error(error))
                await asyncio.sleep(CONNECT_SECONDS)
            else:
                return

    def _start_loops(self, runtime: "Runtime", group: anyio.abc.TaskGroup) -> None:
        """Start the loops that find flow runs, and what has become of them."""
        from deployments.worker.events import CANCELLED, STARTABLE, listen, poll_cancellations
        from deployments.worker.poller import Poller
        from nexus_hub.orchestration.due_refresh import RefreshTrigger
        from nexus_hub.orchestration.tool_choices import ToolChoices

        poller = Poller(
            self.client,
            group,
            lambda: prefect_internals.get_pool(self),
            prefect_internals.get_queues(self),
            prefect_internals.get_limit(self),
            self._take,
            self._cancel,
            lambda: runtime.shared_runs.ending,
            self._wants,
            clock=runtime.prefect_client.clock,
        )
        self._poller = poller
        runtime.listeners.append(self._notice)
        runtime.shared_runs.on_wake = poller.wakeup.wake
        handlers = dict.fromkeys(CANCELLED, self._cancel) | dict.fromkeys(STARTABLE, poller.notice)
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "prefect-events": partial(listen, handlers),
            "cancellations": partial(poll_cancellations, poller.running.keys, self._cancel),
            "due-refresh": RefreshTrigger(runtime.database, runtime.prefect_client).run,
            "tool-choices": ToolChoices(runtime.database, runtime.prefect_client).run,
            "poll": poller.poll_when_woken,
        }
        self._loops = [asyncio.create_task(keep_running(name, run)) for name, run in loops.items()]

    async def teardown(self, *exc_info: Any) -> None:
        """Disconnect from Prefect, then close the runtime."""
        try:
            for loop in self._loops:
                loop.cancel()
            if self._poller is not None:
                self._poller.wakeup.close()
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
        """Send a heartbeat and read the pool anew, unless Prefect is away."""
        with outlasting("prefect-heartbeat"):
            await super().sync_with_backend()
            await self._read_limits()

    async def _read_limits(self) -> None:
        """Find out if a limit may hold runs back, so that each end of a run makes room for another."""
        pool = prefect_internals.get_pool(self)
        if self._poller is not None and pool is not None:
            queues = await self.client.read_work_queues(work_pool_name=pool.name)
            limits = [pool.concurrency_limit, *(queue.concurrency_limit for queue in queues)]
            self._poller.limited = any(limit is not None for limit in limits)
            if self._poller.limited:
                self._poller.wakeup.wake()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take the runs that are due, and note those of the time until the next poll, unless Prefect is away."""
        prefect_internals.note_poll(self)
        if self._poller is not None:
            with outlasting("poll"):
                return await self._poller.poll(get_current_settings().worker.query_seconds * POLL_JITTER)
        return []

    def _notice(self, change: "JobChange | None") -> None:
        """Tell the shared runs of a job in the queue, and wake for one that has got a run. None: one may be missed."""
        from nexus_hub.execution.fair_queue import PendingJob

        if self._poller is None or self._runtime is None:
            return
        if change is None:
            self._runtime.shared_runs.notice(None)
        elif change.queued and change.server_id is not None:
            self._runtime.shared_runs.notice(PendingJob(change.job_id, change.server_id, change.user_id))
            return
        else:
            self._runtime.shared_runs.forget(change.job_id)
        if change is None or (change.status == "pending" and change.version > 1):
            self._poller.wakeup.wake()

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing more and wait for what runs, at most the grace time; then release its jobs."""
        if self._poller is None or self._runtime is None:
            return
        self._poller.closed = True
        self._runtime.execution.drain()
        self._runtime.shared_runs.drain()
        if await self._outlives(self._poller, grace_seconds):
            self._runtime.execution.shutdown()
            await self._outlives(self._poller, RELEASE_SECONDS)

    async def _outlives(self, poller: "Poller", seconds: float) -> bool:
        """Wait for the runs; True if one outlives the seconds."""
        if not poller.running:
            return False
        _, running = await asyncio.wait(list(poller.running.values()), timeout=seconds)
        return bool(running)

    def _wants(self, flow_run: FlowRun) -> bool:
        """Leave a shared run to other workers while this one has just begun to take jobs for another."""
        return self._runtime is None or "batch_id" not in flow_run.parameters or self._runtime.shared_runs.wants_run()

    async def _take(self, flow_run: FlowRun) -> "Ownership":
        """Take a run by the rows of what it carries, if it can be had there."""
        from nexus_hub.errors import DatabaseUnavailable
        from nexus_hub.orchestration.ownership import Ownership, take_run, take_shared_run

        if self._runtime is None:
            return Ownership.UNKNOWN
        try:
            if (run_id := flow_run.parameters.get("batch_id")) is not None:
                return await take_shared_run(self._runtime.shared_runs, run_id, flow_run.id)
            if flow_run.parameters.get("job_id") is not None:
                return await take_run(self._runtime.database, flow_run.id)
        except DatabaseUnavailable:
            pass
        return Ownership.UNKNOWN

    async def _cancel(self, flow_run_id: UUID) -> None:
        """End the jobs of a run as cancelled, wherever they are, which ends their calls and the run."""
        from nexus_hub.errors import DatabaseUnavailable
        from nexus_hub.jobs.store import cancel_flow_run

        if self._runtime is not None:
            self._runtime.shared_runs.cancel(flow_run_id)
            with suppress(DatabaseUnavailable):  # it is asked for again
                await cancel_flow_run(self._runtime.database, flow_run_id)
