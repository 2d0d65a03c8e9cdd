"""This flow run in Prefect: its state, its name, its retries."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy, State
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry

from flows.run_log import write_line
from nexus_hub.telemetry.text import printable

TRIES, AGAIN_SECONDS = 24, 5.0


async def announce(state: "State[None]") -> None:
    """Set this run's state with the client: an AwaitingRetry that is returned would end the run.

    It is tried for two minutes while Prefect gives no answer: a run that fails over this would be over.
    """
    async with get_client() as client:
        for tries_left in reversed(range(TRIES)):
            try:
                await client.set_flow_run_state(UUID(flow_run.id), state, force=True)
            except httpx.HTTPError:
                if not tries_left:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return


async def wait(until: datetime, why: str) -> NoReturn:
    """Give the worker's slot back until then; the same run goes on afterwards."""
    write_line("waits until %s: %s", until.astimezone(UTC).strftime("%H:%M:%S UTC"), why)
    state: State[None] = AwaitingRetry(scheduled_time=until, message=why)
    await announce(state)
    raise Pause(state=state)


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
