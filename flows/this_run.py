"""This flow run in Prefect: its state, its name, its retries."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy, State
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry

from flows.run_log import write_line
from nexus_hub.telemetry.text import printable

PATIENCE_SECONDS, AGAIN_SECONDS = 120.0, 5.0


async def announce(state: "State[Any]") -> "State[Any]":
    """Set this run's state with the client, as an AwaitingRetry that is returned would end it; its state then.

    It is tried for two minutes while Prefect fails, since a run that fails over this would be over. One that has
    another state than Running by then, as one that was cancelled, keeps it.
    """
    run, give_up, tried = UUID(flow_run.id), time.monotonic() + PATIENCE_SECONDS, False
    async with get_client() as client:
        while True:
            try:
                now = (await client.read_flow_run(run)).state if tried else None
                if now is not None and not now.is_running():
                    return now
                tried = True
                await client.set_flow_run_state(run, state, force=True)
            except httpx.HTTPError as error:
                refused = isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error
                if refused or time.monotonic() > give_up:
                    raise
            else:
                return state
            await asyncio.sleep(AGAIN_SECONDS)


async def wait(until: datetime, why: str) -> NoReturn:
    """Give the worker's slot back until then; the same run goes on afterwards."""
    write_line("waits until %s: %s", until.astimezone(UTC).strftime("%H:%M:%S UTC"), why)
    raise Pause(state=await announce(AwaitingRetry(scheduled_time=until, message=why)))


async def is_cancelled() -> bool:
    """True if Prefect wants this run cancelled: then it takes no other end."""
    async with get_client() as client:
        state = (await client.read_flow_run(UUID(flow_run.id))).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())


async def rename(what: str, job_id: UUID) -> None:
    """Name a run that a person or a schedule started as the hub names its own, if Prefect takes it."""
    async with get_client() as client:
        with suppress(httpx.HTTPError):
            await client.update_flow_run(UUID(flow_run.id), name=f"{printable(what)} {str(job_id)[:4]}")


async def give_up_retries() -> None:
    """Let this run end as it fails: trying again would not help."""
    async with get_client() as client:
        await client.update_flow_run(UUID(flow_run.id), empirical_policy=FlowRunPolicy(retries=0, retry_delay=0))


def run_name(template: str, *, otherwise: str) -> str:
    """Name a run by its parameters, or otherwise if they say nothing, and by the row's id, else its own."""
    given = {name: value for name, value in flow_run.parameters.items() if value not in (None, "")}
    try:
        said = template.format_map(given)
    except KeyError:
        said = otherwise
    return f"{printable(said, longest=80)} {str(given.get('job_id') or flow_run.id)[:4]}"
