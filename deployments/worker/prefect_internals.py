"""All that the hub uses of Prefect without a promise of Prefect's that it stays: private names, and overridden parts.

A test compares the signatures; whoever raises Prefect's version begins with it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio.abc
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, WorkPool
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.exceptions import Pause
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.utilities.callables import get_call_parameters, parameter_schema, parameters_to_args_kwargs
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker

from nexus_hub.clock import RemoteClock

__all__ = [
    "get_limit",
    "get_pool",
    "get_queues",
    "get_task_group",
    "note_poll",
    "parameter_schema",
    "propose_state",
    "read_scheduled_runs",
    "run_flow",
    "share_clients",
]
AnyWorker = BaseWorker[Any, Any, Any]


@asynccontextmanager
async def share_clients() -> AsyncIterator[None]:
    """Open two of Prefect's clients, which all that is started from this context shares.

    Without them each flow run makes its own, which loads the certificates of all authorities anew.
    """
    async with AsyncClientContext():
        with SyncClientContext():
            yield


class RunsClient(PrefectClient):
    """The shared client as the engine of one run has it, which spares the server what the worker knows.

    Prefect's engine notes the flow's retries and version at the run, which has neither here, and reads the run again
    that it was given a moment ago.
    """

    def __init__(self, shared: PrefectClient, engine: "Engine") -> None:
        self.__dict__.update(shared.__dict__)
        self._engine = engine

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **changes: Any) -> Any:
        """Leave the run as it is, unless something else is to change than what every run is told."""
        if args or changes.keys() != {"flow_version", "empirical_policy"}:
            return await super().update_flow_run(flow_run_id, *args, **changes)
        return None

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """The engine's own run as it is now, of which the server counts the start."""
        run = self._engine.flow_run
        if run is None or run.id != flow_run_id:
            return await super().read_flow_run(flow_run_id)
        return run.model_copy(update={"run_count": run.run_count + 1})


class Engine(AsyncFlowRunEngine[..., Any]):
    """Prefect's engine, which does not look out for a suspension.

    Prefect's looks out in a thread of its own for each run of a deployment, with its own event loop, client and
    subscription, and lets the event loop of all runs stand still until those are there, and again until they are gone:
    about 0.1 s and 0.2 s. A job can't be suspended in the midst of its call in any case: it goes on to its end.
    """

    def __init__(self, *args: Any, on_begin: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_begin = on_begin

    async def begin_run(self) -> State[Any]:
        """Begin, and say so."""
        state = await super().begin_run()
        self._on_begin()
        return state

    @property
    def client(self) -> PrefectClient:
        """The client of this run; a flow that is tried again within its run takes the usual way."""
        shared = super().client
        return shared if self.flow.retries else RunsClient(shared, self)

    @contextmanager
    def setup_flow_run_suspension_request(self) -> Iterator[Any]:
        """Give the request, which nobody will make."""
        yield self._flow_run_suspension_request


async def run_flow(flow: Flow[..., Any], flow_run: FlowRun, on_begin: Callable[[], None]) -> State[Any]:
    """Run a flow to its end, or until it waits for a time; its state then. `on_begin` is called once Prefect knows."""
    arguments, named = parameters_to_args_kwargs(flow.fn, flow_run.parameters)
    parameters = get_call_parameters(flow.fn, arguments, named)
    engine = Engine(flow=flow, flow_run=flow_run, parameters=parameters, on_begin=on_begin)
    try:
        async with engine.start():
            while engine.is_running():
                async with engine.run_context():
                    _ = await engine.call_flow_fn()
    except Pause as pause:
        if pause.state is None:
            raise
        return pause.state
    return engine.state


async def read_scheduled_runs(
    client: PrefectClient, pool: WorkPool, queues: list[str], ahead: float, limit: int, clock: RemoteClock
) -> list[FlowRun]:
    """Read the runs of a pool that are due within so many seconds by Prefect's clock, at most so many.

    Raises:
        ObjectNotFound: the pool is gone.
        httpx.HTTPError: Prefect does not answer.
    """
    before = clock.now() + timedelta(seconds=ahead)
    asked = {"work_queue_names": queues, "scheduled_before": before.isoformat(), "limit": limit}
    answer = await client.request(
        "POST", "/work_pools/{name}/get_scheduled_flow_runs", path_params={"name": pool.name}, json=asked
    )
    clock.note_date(answer.headers.get("Date"))
    return [one.flow_run for one in WorkerFlowRunResponse.model_validate_list(answer.json())]


def get_pool(worker: AnyWorker) -> WorkPool | None:
    """The worker's pool as Prefect last told of it; None before that."""
    return worker._work_pool


def get_queues(worker: AnyWorker) -> list[str]:
    """The queues that the worker was told to serve; none means all."""
    return sorted(worker._work_queues)


def get_limit(worker: AnyWorker) -> int | None:
    """The runs that the worker may run at once."""
    return worker._limit


def get_task_group(worker: AnyWorker) -> anyio.abc.TaskGroup | None:
    """The task group of the worker's runs, once it is set up."""
    return worker._runs_task_group


def note_poll(worker: AnyWorker) -> None:
    """Note that the worker polls: Prefect's own health check asks for it."""
    worker._last_polled_time = datetime.now(UTC)
