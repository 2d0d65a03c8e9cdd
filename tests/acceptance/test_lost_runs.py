"""What Prefect shows of a flow run that comes too late for its job, or whose process is gone: how the job has ended."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Running

from deployments.worker.poller import Poller
from nexus_hub.models import JobStatus
from nexus_hub.orchestration.ownership import Ownership
from nexus_hub.orchestration.prefect_client import PrefectClient
from tests.fixtures.hub import Hub

pytestmark = pytest.mark.stack
ENDS: list[tuple[JobStatus, str]] = [("completed", "Completed"), ("failed", "Failed"), ("cancelled", "Cancelled")]


def for_tomorrow(hub: Hub) -> str:
    """A run that the hub's worker leaves alone."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": tomorrow}}
    scheduled = {"state": state, "enforce_parameter_schema": False}
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()["id"]
        run = prefect.post(f"/deployments/{deployment}/create_flow_run", json=scheduled).raise_for_status().json()
    return str(run["id"])


def left_over(hub: Hub) -> str:
    """A run that Prefect shows as running though nobody works on it."""
    run = for_tomorrow(hub)
    with hub.prefect() as prefect:
        running = {"state": {"type": "RUNNING"}, "force": True}
        assert prefect.post(f"/flow_runs/{run}/set_state", json=running).json()["status"] == "ACCEPT"
    return run


@pytest.mark.parametrize(("status", "name"), ENDS)
async def test_a_run_that_is_left_over_ends_like_its_job_and_then_stays_so(
    hub: Hub, status: JobStatus, name: str
) -> None:
    run = left_over(hub)
    async with PrefectClient(hub.prefect_url, ":".join(hub.prefect_auth)) as prefect_client:
        await prefect_client.settle(UUID(run), status)
        await prefect_client.crash(UUID(run))
    state = hub.flow_run(run)["state"]
    assert (state["name"], state["message"]) == (name, "the worker that ran it is gone")


async def test_a_run_without_an_ended_job_crashes(hub: Hub) -> None:
    run = left_over(hub)
    async with PrefectClient(hub.prefect_url, ":".join(hub.prefect_auth)) as prefect_client:
        await prefect_client.crash(UUID(run))
    state = hub.flow_run(run)["state"]
    assert (state["name"], state["message"]) == ("Crashed", "the worker that ran it is gone")


@pytest.mark.parametrize(("status", "name"), ENDS)
def test_a_run_of_an_ended_job_does_nothing_and_shows_how_it_ended(hub: Hub, status: JobStatus, name: str) -> None:
    job_id = uuid4()
    with psycopg.connect(hub.app_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        connection.execute(
            "INSERT INTO job_results (id, job_type, server_id, tool_name, status, attempt)"
            " VALUES (%s, 'tool_invoke', 'none', 'none', %s, 1)",
            [job_id, status],
        )
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()["id"]
        given = {"parameters": {"job_id": str(job_id), "attempt": 1}, "enforce_parameter_schema": False}
        run = prefect.post(f"/deployments/{deployment}/create_flow_run", json=given).raise_for_status().json()
    state = hub.flow_run(run["id"])["state"]
    assert (state["name"], state["message"]) == (name, f"nothing to do: the job is {status}")


async def test_a_run_that_is_cancelled_while_the_worker_takes_it_is_over_at_once(hub: Hub) -> None:
    run = for_tomorrow(hub)
    cancelled: list[UUID] = []
    prefect = {PREFECT_API_URL: hub.prefect_url, PREFECT_API_AUTH_STRING: ":".join(hub.prefect_auth)}
    with temporary_settings(prefect):
        async with get_client() as client, anyio.create_task_group() as group:

            async def take(flow_run: FlowRun) -> Ownership:
                await client.set_flow_run_state(flow_run.id, Running(), force=True)
                await client.set_flow_run_state(flow_run.id, Cancelling())
                return Ownership.ACQUIRED

            async def cancel(flow_run_id: UUID) -> None:
                cancelled.append(flow_run_id)

            poller = Poller(client, group, lambda: None, [], None, take, cancel)
            await poller._run(await client.read_flow_run(UUID(run)), {}, asyncio.Event())
    assert hub.flow_run(run, seconds=0)["state"]["name"] == "Cancelled"
    assert cancelled == [UUID(run)]
