"""The worker when Prefect goes away."""

from uuid import uuid4

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from deployments.catalogue import POOL
from deployments.worker import NexusWorker

NOWHERE = "http://127.0.0.1:1/api"


async def test_a_run_that_cannot_be_taken_ends_no_other_and_may_come_again() -> None:
    run = FlowRun(id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name="one")
    worker = NexusWorker(POOL, name="one", limit=1)
    worker._limiter = anyio.CapacityLimiter(1)
    worker._limiter.acquire_on_behalf_of_nowait(run.id)
    worker._submitting_flow_run_ids.add(run.id)
    async with PrefectClient(NOWHERE) as client, anyio.create_task_group() as runs:
        worker._client = client
        worker._runs_task_group = runs
        await worker._submit_run(run)
    assert worker._limiter.borrowed_tokens == 0
    assert worker._submitting_flow_run_ids == set()
