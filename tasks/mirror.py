"""Tasks that mirror a flow run into `job_results`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.models import ServerRef
from nexus_hub.orchestration.mirror import Kind, Mirror
from nexus_hub.telemetry.loops import outlasting
from tasks.context import available, current
from tasks.failures import codes_only
from tasks.options import DATABASE, DATABASE_LONGEST, hub_task

MIRROR_BEAT_SECONDS = 20


@hub_task("begin-mirror", retry=DATABASE)
async def begin_mirror(
    kind: Kind, flow_run_id: UUID, params: dict[str, Any], job_id: UUID | None, ref: ServerRef | None
) -> UUID:
    """Show the run in `job_results`; the id of its row."""
    return await current().mirror.begin(kind, flow_run_id, params, job_id=job_id, ref=ref)


@hub_task("complete-mirror", retry=DATABASE_LONGEST)
async def complete_mirror(job_id: UUID, result: dict[str, Any], code: str | None, error: str | None) -> None:
    """Write down what the run has done, and what makes it a failure all the same."""
    await current().mirror.complete(job_id, result, code, error)


@hub_task("fail-mirror", retry=DATABASE_LONGEST)
async def fail_mirror(job_id: UUID, code: str, error: str) -> None:
    """Write down that the run failed."""
    await current().mirror.fail(job_id, code, error)


@codes_only
async def note_mirror(job_id: UUID, progress: dict[str, Any]) -> None:
    """Note a sign of life; too small for a task run of its own."""
    await current().mirror.note(job_id, progress)


@asynccontextmanager
async def keep_alive(job_id: UUID) -> AsyncIterator[None]:
    """Give signs of life as long as the block runs, however long a step of it takes."""
    beats = asyncio.create_task(_send_heartbeats(current().mirror, job_id))
    try:
        yield
    finally:
        await cancel_and_wait(beats)


async def _send_heartbeats(mirror: Mirror, job_id: UUID) -> None:
    while True:
        await asyncio.sleep(MIRROR_BEAT_SECONDS)
        with outlasting("mirror"):
            await mirror.beat(job_id)


@codes_only
async def abandon_mirror(flow_run_id: UUID, status: Literal["failed", "cancelled"], code: str, error: str) -> None:
    """End what a run left open, from a hook."""
    async with available() as runtime:
        await runtime.mirror.abandon(flow_run_id, status, code, error)
