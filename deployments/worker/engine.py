"""What keeps a process warm for flows: Prefect's clients stay open, and no run asks where results are stored."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.exceptions import Pause
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.settings import get_current_settings
from prefect.utilities.callables import get_call_parameters, parameters_to_args_kwargs

from deployments.registry import Deployed


@asynccontextmanager
async def clients() -> AsyncIterator[None]:
    """Two of Prefect's clients, which all that is started from this context shares.

    Without them each flow run makes its own, which loads the certificates of all authorities anew.
    """
    async with AsyncClientContext():
        with SyncClientContext():
            yield


@cache
def prepared(deployed: Deployed) -> Flow[..., Any]:
    """The flow with its storage of results named: else each of its runs asks the server for the default one.

    Nothing is stored there, as the flows persist no results.
    """
    path: Path = get_current_settings().results.local_storage_path
    return deployed.flow().with_options(result_storage=path)


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

    def __init__(self, *args: Any, begun: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun = begun

    async def begin_run(self) -> State[Any]:
        """Begin, and say so."""
        state = await super().begin_run()
        self._begun()
        return state

    @property
    def client(self) -> PrefectClient:
        """The client of this run; a flow that is tried again within its run takes the usual way."""
        shared = super().client
        return shared if self.flow.retries else RunsClient(shared, self)

    @contextmanager
    def setup_flow_run_suspension_request(self) -> Iterator[Any]:
        """The request, which nobody will make."""
        yield self._flow_run_suspension_request


async def execute(deployed: Deployed, flow_run: FlowRun, begun: Callable[[], None]) -> State[Any]:
    """Run a flow to its end, or until it waits for a time: how it stands then. `begun` is called once Prefect knows."""
    flow = prepared(deployed)
    arguments, named = parameters_to_args_kwargs(flow.fn, flow_run.parameters)
    parameters = get_call_parameters(flow.fn, arguments, named)
    engine = Engine(flow=flow, flow_run=flow_run, parameters=parameters, begun=begun)
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
