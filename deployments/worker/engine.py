"""Running a flow inside this process, without a question where results are stored."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import get_current_settings

from deployments.registry import Deployed
from deployments.worker.prefect_internals import run_flow


@cache
def prepare(deployed: Deployed) -> Flow[..., Any]:
    """Name the storage of a flow's results: else each of its runs asks the server for the default one.

    Nothing is stored there, as the flows persist no results.
    """
    path: Path = get_current_settings().results.local_storage_path
    return deployed.flow().with_options(result_storage=path)


async def execute(deployed: Deployed, flow_run: FlowRun, on_begin: Callable[[], None]) -> State[Any]:
    """Run a flow to its end, or until it waits for a time; its state then. `on_begin` is called once Prefect knows."""
    return await run_flow(prepare(deployed), flow_run, on_begin)
