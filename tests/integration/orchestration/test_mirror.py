"""Mirrored rows: the runs of the flows that look after the hub, in `job_results`."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import MaintenanceFailed, NotFound, PrefectUnavailable, RunCancelled
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.maintenance import Maintenance
from nexus_hub.orchestration.mirror import Mirror
from tests.fixtures.prefect_runs import FakePrefect, Take


@pytest.fixture
def mirror(hub_database: Database) -> Mirror:
    return Mirror(hub_database)


async def row(database: Database, job_id: UUID) -> dict[str, Any]:
    return await store.get(database, OPERATOR, job_id)


async def test_a_run_is_shown_from_its_beginning_to_its_end(hub_database: Database, mirror: Mirror) -> None:
    run = uuid4()
    job_id = await mirror.begin("key_rotation", run, {"new_key_id": "0a1b2c3d"})
    begun = await row(hub_database, job_id)
    assert (begun["status"], begun["job_type"], begun["server_id"]) == ("running", "key_rotation", "hub")
    assert (begun["flow_run_id"], begun["attempt"], begun["params"]) == (run, 1, {"new_key_id": "0a1b2c3d"})
    await mirror.note(job_id, {"done": 1, "total": 2})
    assert (await row(hub_database, job_id))["progress"] == {"done": 1, "total": 2}
    await mirror.complete(job_id, {"updated": 2, "errors": []})
    ended = await row(hub_database, job_id)
    assert (ended["status"], ended["result"]) == ("completed", {"updated": 2, "errors": []})
    assert ended["completed_at"] is not None
    await mirror.fail(job_id, "too-late", "It does not change.")
    assert (await row(hub_database, job_id))["error"] is None


async def test_a_refresh_of_one_server_names_it(hub_database: Database, mirror: Mirror) -> None:
    ref = ServerRef("system", uuid4())
    job_id = await mirror.begin("cache_refresh", uuid4(), {}, ref=ref)
    shown = await row(hub_database, job_id)
    assert (shown["server_id"], shown["server_type"]) == (str(ref.server_ref_id), "system")


async def test_a_row_that_waits_is_the_one_that_begins(hub_database: Database, mirror: Mirror) -> None:
    run = uuid4()
    job_id = await mirror.add("job_cleanup", {"days_completed": 7})
    assert (await row(hub_database, job_id))["status"] == "pending"
    await mirror.note_dispatch(job_id, run)
    assert await mirror.begin("job_cleanup", run, {"days_completed": 7}, job_id=job_id) == job_id
    assert await mirror.begin("job_cleanup", run, {}, job_id=job_id) == job_id, "it goes on with what it left open"
    await mirror.fail(job_id, "database-unavailable", "The database was away.")
    again = await mirror.begin("job_cleanup", run, {}, job_id=job_id)
    assert again != job_id, "a second attempt is a row of its own"


async def test_a_row_that_ended_before_its_run_began_stops_it(mirror: Mirror) -> None:
    """The answer of Prefect to the start was lost, and the caller was told that it failed."""
    job_id = await mirror.add("key_rotation", {})
    await mirror.fail(job_id, "prefect-unavailable", "Prefect is away.")
    with pytest.raises(RunCancelled):
        await mirror.begin("key_rotation", uuid4(), {}, job_id=job_id)


async def test_no_other_job_is_ended_or_noted_as_such_a_run(hub_database: Database, mirror: Mirror) -> None:
    request = JobRequest("tool_invoke", "s__t", {})
    job, _ = await store.add(hub_database, OPERATOR, request, ServerRef("system", uuid4()), "t")
    job_id: UUID = job["id"]
    await mirror.fail(job_id, "at-work", "Another run is at work.")
    await mirror.complete(job_id, {})
    with pytest.raises(RunCancelled):
        await mirror.note(job_id, {})
    assert (await row(hub_database, job_id))["status"] == "pending"


async def test_a_row_that_was_cancelled_stops_its_run(hub_database: Database, mirror: Mirror) -> None:
    waiting = await mirror.add("job_cleanup", {})
    await store.cancel(hub_database, OPERATOR, waiting)
    with pytest.raises(RunCancelled):
        await mirror.begin("job_cleanup", uuid4(), {}, job_id=waiting)
    running = await mirror.begin("job_cleanup", uuid4(), {})
    await store.cancel(hub_database, OPERATOR, running)
    with pytest.raises(RunCancelled):
        await mirror.note(running, {})


async def test_a_strangers_job_is_no_row_of_such_a_run(hub_database: Database, mirror: Mirror) -> None:
    other = await mirror.add("key_rotation", {})
    assert await mirror.begin("job_cleanup", uuid4(), {}, job_id=other) != other
    assert (await row(hub_database, other))["status"] == "pending"


async def test_what_a_run_left_open_is_ended_once(hub_database: Database, mirror: Mirror) -> None:
    run = uuid4()
    job_id = await mirror.begin("cache_refresh", run, {})
    assert await mirror.abandon(run, "failed", "run-lost", "The process of the flow run is gone.") == 1
    assert await mirror.abandon(run, "failed", "run-lost", "The process of the flow run is gone.") == 0
    assert (await row(hub_database, job_id))["error_code"] == "run-lost"


async def test_only_operators_see_them(hub_database: Database, mirror: Mirror) -> None:
    job_id = await mirror.begin("cache_refresh", uuid4(), {})
    with pytest.raises(NotFound):
        await store.get(hub_database, Principal(uuid4()), job_id)


def worker(mirror: Mirror, outcome: str) -> Take:
    """A worker whose runs of the clean-up end in this way, at once or later."""

    async def take(flow: str, run: UUID, parameters: dict[str, Any]) -> None:
        job_id = UUID(parameters["job_id"])
        if outcome != "slow":
            await mirror.begin("job_cleanup", run, {}, job_id=job_id)
        if outcome == "completed":
            await mirror.complete(job_id, {"total_deleted": 3})
        if outcome == "failed":
            await mirror.fail(job_id, "cannot-open", "It can't be opened.")

    return take


@pytest.mark.parametrize("outcome", ["completed", "failed", "slow", "away"])
async def test_the_api_waits_for_a_run_that_it_started(hub_database: Database, mirror: Mirror, outcome: str) -> None:
    prefect = FakePrefect()
    prefect.away, prefect.take = outcome == "away", worker(mirror, outcome)
    maintenance = Maintenance(hub_database, mirror, prefect, patience=0.3)
    run = maintenance.run("job_cleanup", "7 1", {"days_completed": 7})
    if outcome == "failed":
        with pytest.raises(MaintenanceFailed) as failed:
            await run
        assert failed.value.reason == "cannot-open"
    elif outcome == "away":
        with pytest.raises(PrefectUnavailable):
            await run
        (listed,) = (await lists.list_jobs(hub_database, OPERATOR))["items"]
        assert (listed["status"], listed["error_code"]) == ("failed", "prefect-unavailable")
    else:
        assert (await run).result == ({"total_deleted": 3} if outcome == "completed" else None)
    if outcome == "away":
        assert prefect.made == []
        return
    ((flow, name, parameters),) = prefect.made
    assert (flow, name) == ("cleanup-jobs", f"7 1 {parameters['job_id'][:4]}")
