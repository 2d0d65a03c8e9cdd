"""The worker when Prefect goes away."""

import asyncio
from uuid import UUID, uuid4

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from deployments.intake import Intake
from nexus_hub.jobs.store import Right

NOWHERE = "http://127.0.0.1:1/api"


async def unsaid(_: FlowRun) -> Right:
    return Right.UNSAID


async def nothing(_: UUID) -> None:
    return None


async def test_a_run_that_cannot_be_taken_ends_no_other_and_may_come_again() -> None:
    run = FlowRun(id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name="one")
    async with PrefectClient(NOWHERE) as client, anyio.create_task_group() as runs:
        other = asyncio.Event()
        runs.start_soon(other.wait)
        intake = Intake(client, runs, lambda: None, [], 1, unsaid, nothing)
        await intake._carry_out(run, {}, asyncio.Event())
        assert not runs.cancel_scope.cancel_called
        other.set()
    assert intake.running == {}
