"""The worker of type `nexus`: runs the hub's flows inside its own long-lived process.

Prefect's server imports this module too (entry point `prefect.collections`), so that the library is imported late.
"""

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort, Pause
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import Field

from deployments import cancellation
from deployments.catalogue import DEPLOYED, ENTRYPOINTS, WORKER_TYPE, Deployed

if TYPE_CHECKING:
    from nexus_hub.runtime import Runtime


logger = logging.getLogger("nexus_hub.worker")
HAND_BACK_SECONDS = 10
"""How long the jobs that are still running after the grace time have to be handed back."""


class NexusJobConfiguration(BaseJobConfiguration):
    """A run's configuration: nothing of it can change what is executed."""


class NexusVariables(BaseVariables):
    """What can be set on the pool and on runs."""

    command: str | None = Field(default=None, description="Not used: the worker runs no commands and refuses one.")


class NexusWorkerResult(BaseWorkerResult):
    """How a run left the worker; Prefect has its state already."""


class Refused(Exception):
    """A run that asks for something else than the hub's own flows."""


class NexusWorker(BaseWorker[NexusJobConfiguration, NexusVariables, NexusWorkerResult]):
    """Runs the flows of `deployments.catalogue` in this process, and no other code."""

    type = WORKER_TYPE
    job_configuration = NexusJobConfiguration
    job_configuration_variables = NexusVariables
    _description = "Runs nexus-hub's flows inside one warm process, with its connections kept open."
    _display_name = "nexus-hub"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resources = AsyncExitStack()
        self._runtime: Runtime | None = None
        self._running: dict[UUID, asyncio.Task[Any]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._draining = False

    async def setup(self) -> None:
        """Open the runtime, which all runs of this worker share, then connect to Prefect."""
        from nexus_hub.catalog.refresh import LookOut
        from nexus_hub.runtime import opened
        from nexus_hub.settings import load
        from tasks.context import use

        self._runtime = await self._resources.enter_async_context(opened(load(), "worker"))
        use(self._runtime)
        await super().setup()
        watching = cancellation.watch(self._running.keys, self._cancel)
        looking = LookOut(self._runtime.database, self._runtime.dispatcher).run()
        self._loops = [asyncio.create_task(loop) for loop in (watching, looking)]

    async def teardown(self, *exc_info: Any) -> None:
        """Disconnect from Prefect, then close the runtime."""
        try:
            for loop in self._loops:
                loop.cancel()
            await super().teardown(*exc_info)
        finally:
            await self._resources.aclose()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: NexusJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> NexusWorkerResult:
        """Run a flow in this process.

        Raises:
            Refused: the run names another entrypoint or a command.
        """
        deployed = await self._allowed(flow_run, configuration)
        if task_status is not None:
            task_status.started(_identifier(flow_run))
        task = asyncio.create_task(_execute(deployed, flow_run))
        self._running[flow_run.id] = task
        try:
            await task
        finally:
            self._running.pop(flow_run.id, None)
        return NexusWorkerResult(status_code=0, identifier=str(flow_run.id))

    async def _allowed(self, flow_run: FlowRun, configuration: NexusJobConfiguration) -> Deployed:
        if configuration.command not in (None, configuration._base_flow_run_command()):
            raise Refused("a worker of type nexus runs no commands")
        if flow_run.deployment_id is None:
            raise Refused("a worker of type nexus runs deployments only")
        deployment = await self.client.read_deployment(flow_run.deployment_id)
        if deployment.entrypoint not in ENTRYPOINTS or deployment.pull_steps:
            raise Refused("this entrypoint is not on the worker's list")
        return next(one for one in DEPLOYED if one.entrypoint == deployment.entrypoint)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due, unless this worker is about to end."""
        return [] if self._draining else await super().get_and_submit_flow_runs()

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Take a run; should Prefect go away meanwhile, that ends no other run; this one is asked for again."""
        try:
            await super()._submit_run(flow_run)
        except (Exception, Abort, Pause) as error:
            logger.warning("a flow run could not be taken: %s", type(error).__name__)
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing more and wait for what runs, at most the grace time; then hand the jobs of it back."""
        self._draining = True
        if await self._ended(grace_seconds) and self._runtime is not None:
            self._runtime.execution.leave()
            await self._ended(HAND_BACK_SECONDS)

    async def _ended(self, seconds: float) -> bool:
        """Wait for what runs; whether something still does."""
        if not self._running:
            return False
        _, running = await asyncio.wait(list(self._running.values()), timeout=seconds)
        return bool(running)

    async def _cancel(self, flow_run_id: UUID) -> None:
        """Cancelled in Prefect: end its jobs as cancelled, which ends their calls and then the run."""
        from nexus_hub.errors import DatabaseUnavailable
        from nexus_hub.jobs.store import cancel_flow_run

        if self._runtime is not None:
            with suppress(DatabaseUnavailable):  # it is asked for again
                await cancel_flow_run(self._runtime.database, flow_run_id)


def _identifier(flow_run: FlowRun) -> int:
    """Prefect wants something true to note as the run's infrastructure; the worker's pid would name all runs alike."""
    return flow_run.id.int % 2**31 or 1


async def _execute(deployed: Deployed, flow_run: FlowRun) -> None:
    """Run a flow. How one ends that waits, or that Prefect stops, is a signal, which must not reach the other runs."""
    from prefect.flow_engine import run_flow

    with suppress(Abort, Pause):
        await run_flow(deployed.flow(), flow_run=flow_run, return_type="state")  # type: ignore[misc]
