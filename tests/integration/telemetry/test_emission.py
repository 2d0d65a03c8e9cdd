"""Events are told where the work is done: once each, with the ids of what they are about."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit, submit_batch
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.orchestration.dispatcher import JobDispatch, dispatch_job, open_run
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import (
    AttemptEnded,
    BatchStored,
    CallRefused,
    CallReturned,
    JobClaimed,
    JobClosed,
    JobDispatched,
    JobRescued,
    JobStored,
    JobTags,
    KeysRotated,
    LimitDecided,
    RunOpened,
    TelemetryEvent,
)
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation, RotationPlan
from tests.fixtures.jobs import Table
from tests.fixtures.library import Library
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.shared_runs import carried
from tests.fixtures.upstreams import own_server

ECHO = JobRequest("tool_invoke", "srv__echo", {"text": "canary"})


@pytest.fixture
def seen() -> Iterator[list[TelemetryEvent]]:
    events: list[TelemetryEvent] = []
    with subscribe(events.append):
        yield events


async def test_a_job_is_told_once_it_is_stored_and_not_again_for_its_key(
    library: Library, seen: list[TelemetryEvent]
) -> None:
    server = await library.servers.register("srv", own_server("habits"))
    user, run = uuid4(), uuid4()
    request = JobRequest("tool_invoke", "srv__echo", {"text": "canary"}, idempotency_key="once")
    job, _ = await submit(library.database, Principal(user), request, flow_run_id=run)
    await submit(library.database, Principal(user), request)
    (event,) = seen
    assert isinstance(event, JobStored)
    assert event.job == JobTags(job["id"], server_id=server.id, tool="echo", user_id=user, flow_run_id=run)
    assert event.ms > 0


async def test_an_attempt_is_told_when_it_is_claimed_called_and_ended(
    library: Library, seen: list[TelemetryEvent]
) -> None:
    server = await library.servers.register("srv", own_server("habits"))
    job_id = await library.submitted(ECHO)
    seen.clear()
    assert await library.ran(job_id) == "completed"
    claimed, called, ended = seen
    assert isinstance(claimed, JobClaimed)
    assert isinstance(called, CallReturned)
    assert isinstance(ended, AttemptEnded)
    assert claimed.job.flow_run_id is not None
    assert called.job == ended.job == replace(claimed.job, server="srv")
    assert (ended.job.job_id, ended.job.attempt, ended.job.server_id, ended.job.tool) == (job_id, 1, server.id, "echo")
    assert (called.code, ended.outcome, ended.code) == (None, "completed", None)
    assert 0 < called.ms <= ended.ms


async def test_a_call_that_fails_or_is_over_the_limit_is_told_with_its_code(
    library: Library, seen: list[TelemetryEvent]
) -> None:
    await library.servers.register("srv", own_server("habits"), limits=Limits(per_minute=1))
    ids, _, _ = await submit_batch(library.database, OPERATOR, [replace(ECHO, timeout_seconds=1)] * 2)
    seen.clear()
    await carried(library.execution)
    refused = [event for event in seen if isinstance(event, CallRefused)]
    assert {(event.code, event.job.job_id in ids) for event in refused} == {("rate-limited", True)}
    claimed = await library.claimed(await library.submitted(replace(ECHO, name="srv__echo")))
    claimed.failure = NotFound("server", "srv")
    await library.execution.record(claimed)
    ended = seen[-1]
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.code) == ("failed", "not-found")


async def test_a_batch_is_told_as_one_event_and_a_refused_one_not_at_all(
    library: Library, seen: list[TelemetryEvent]
) -> None:
    await library.servers.register("srv", own_server("habits"))
    _, batch_id, _ = await submit_batch(library.database, OPERATOR, [ECHO] * 3)
    with pytest.raises(NotFound):
        await submit_batch(library.database, OPERATOR, [ECHO, JobRequest("tool_invoke", "srv__nothing")])
    (event,) = seen
    assert isinstance(event, BatchStored)
    assert (event.batch_id, event.jobs) == (batch_id, 3)


async def test_a_job_and_a_shared_run_are_told_once_prefect_has_them(
    hub_database: Database, prefect: FakePrefect, table: Table, seen: list[TelemetryEvent]
) -> None:
    job_id, run_id = await table.add(), uuid4()
    await dispatch_job(hub_database, prefect, JobDispatch(job_id, 1, "tool_invoke", "srv__echo"))
    assert await open_run(hub_database, prefect, run_id)
    assert not await open_run(hub_database, prefect), "there is one to join"
    one, opened = seen
    assert isinstance(one, JobDispatched)
    assert one.job == JobTags(job_id, 1, flow_run_id=prefect.runs[job_id, 1, 0])
    assert isinstance(opened, RunOpened)
    assert (opened.run_id, opened.flow_run_id) == (run_id, prefect.shared[run_id])


async def test_a_job_whose_worker_is_gone_is_told_with_what_became_of_it(
    hub_database: Database, prefect: FakePrefect, table: Table, seen: list[TelemetryEvent]
) -> None:
    run, past = uuid4(), datetime(2026, 1, 1, tzinfo=UTC)
    held = {"status": "running", "attempt": 1, "flow_run_id": run, "claim_id": uuid4(), "lease_expires_at": past}
    again = await table.add(**held)
    failed = await table.add(**held, sent_at=past)
    await Rescuer(hub_database, prefect, Mirror(hub_database), lease_seconds=0).rescue()
    rescued = [event for event in seen if isinstance(event, JobRescued)]
    assert {(event.job.job_id, event.job.flow_run_id, event.status, event.code) for event in rescued} == {
        (again, None, "pending", "lease-expired"),
        (failed, run, "failed", "outcome-unknown"),
    }
    assert all(event.job.server_id and event.job.job_type == "tool_invoke" for event in rescued)


async def test_a_job_that_is_cancelled_is_told_to_have_ended(library: Library, seen: list[TelemetryEvent]) -> None:
    server = await library.servers.register("srv", own_server("habits"))
    job_id = await library.submitted(ECHO)
    await store.cancel(library.database, OPERATOR, job_id)
    job = JobTags(job_id, server_id=server.id, job_type="tool_invoke")
    assert seen[-1] == JobClosed(job, "cancelled", "cancelled")


async def test_a_call_to_a_server_with_a_limit_is_told_with_what_was_decided(
    hub_database: Database, seen: list[TelemetryEvent]
) -> None:
    limiter, server_id = Limiter(hub_database), uuid4()
    for _ in range(2):
        await limiter.take(server_id, None, Limits(per_minute=1))
    await limiter.take(server_id, None, Limits())
    assert seen == [LimitDecided(server_id, "allowed"), LimitDecided(server_id, "refused")]


async def test_a_rotation_is_told_with_the_ids_of_its_keys(hub_database: Database, seen: list[TelemetryEvent]) -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    rotation = Rotation(hub_database, FixedKeyring(Keyring(old, (new,)), new))
    rotation_id: UUID = await rotation.begin(RotationPlan(new.id))
    await rotation.finish(rotation_id, 3, ["Server x: can't be opened"], promoted=True, bound=False)
    (event,) = seen
    assert isinstance(event, KeysRotated)
    assert (event.rotation_id, event.old_key_id, event.new_key_id) == (rotation_id, old.id, new.id)
    assert (event.updated, event.failed) == (3, 1)
