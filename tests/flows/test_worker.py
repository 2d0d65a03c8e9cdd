"""The worker when Prefect goes away, or cancels a run."""

import asyncio
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from deployments.worker.poller import Poller
from deployments.worker.worker import NexusWorker
from nexus_hub.orchestration.ownership import Ownership
from nexus_hub.runtime import Runtime
from tests.fixtures.jobs import LONG_AGO, Table, ago
from tests.fixtures.library import Library
from tests.fixtures.shared_runs import shared

NOWHERE = "http://127.0.0.1:1/api"


async def unsaid(_: FlowRun) -> Ownership:
    return Ownership.UNKNOWN


async def nothing(_: UUID) -> None:
    return None


async def test_a_run_that_cannot_be_taken_ends_no_other_and_may_come_again() -> None:
    run = FlowRun(id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name="one")
    async with PrefectClient(NOWHERE) as client, anyio.create_task_group() as runs:
        other = asyncio.Event()
        runs.start_soon(other.wait)
        poller = Poller(client, runs, lambda: None, [], 1, unsaid, nothing)
        await poller._run(run, {}, asyncio.Event())
        assert not runs.cancel_scope.cancel_called
        other.set()
    assert poller.running == {}


async def test_a_run_that_is_cancelled_before_it_runs_anywhere_takes_its_job_along(
    library: Library, table: Table
) -> None:
    run, other = uuid4(), uuid4()
    jobs = [await table.add(flow_run_id=one, dispatched_at=ago(LONG_AGO)) for one in (run, other)]
    worker = NexusWorker("nexus")
    worker._runtime = cast(Runtime, SimpleNamespace(database=library.database, shared_runs=shared(library.execution)))
    await worker._cancel(run)
    assert [(await table.get(job, "status"))[0] for job in jobs] == ["cancelled", "pending"]
