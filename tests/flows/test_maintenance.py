"""Ends of maintenance flows, on a real Prefect server and a real database."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import CannotOpen, DatabaseUnavailable, NoSecondKey
from nexus_hub.jobs import lists, store
from nexus_hub.models import OPERATOR
from nexus_hub.orchestration.cleanup import Cleanup
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.runtime import Runtime
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation
from tests.defects.replay import contents
from tests.fixtures.jobs import Table, ago
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.sealed import forms, insert, sealed_row, unbound_row

SECRET = "s3cret-in-a-message"


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Prefect server of this module's own."""
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        with prefect_test_harness(server_startup_timeout=120):
            yield home


@pytest.fixture
async def mirror(prefect_server: Path, hub_database: Database) -> AsyncIterator[Mirror]:
    """The mirror of a runtime that flows of this test find; of a real one they need no more."""
    from tasks import context

    mirror = Mirror(hub_database)
    runtime = cast("Runtime", SimpleNamespace(database=hub_database, mirror=mirror))
    token = context._RUNTIME.set(runtime)
    yield mirror
    context._RUNTIME.reset(token)


class Page:
    """A report of a flow."""

    def __init__(self, code: str | None = None) -> None:
        self.code = code

    def as_result(self) -> dict[str, Any]:
        return {"done": 1}

    def as_markdown(self) -> str:
        return "# Done"

    def summary(self) -> str:
        return "1 done"

    def problem(self) -> Any:
        from flows.maintenance import RunProblem

        return RunProblem(self.code, "One is left.") if self.code else None


async def ended(steps: Any, job_id: UUID | None = None, retries: int = 2) -> Any:
    """The state of a flow that takes these steps."""
    from prefect import flow

    from flows.maintenance import HOOKS, run_maintenance

    @flow(name="upkeep", retries=retries, retry_delay_seconds=300, **HOOKS)
    async def maintenance() -> Any:
        return await run_maintenance("job_cleanup", job_id, steps)

    return await maintenance(return_state=True)


def raising(error: Exception) -> Any:
    """Steps whose one task raises."""
    from tasks.failures import codes_only

    @codes_only
    async def work() -> None:
        raise error

    async def steps(run: Any) -> Any:
        await run.begin({"days": 7})
        await work()

    return steps


async def rows(database: Database) -> list[tuple[str, str | None, str | None]]:
    listed = (await lists.list_jobs(database, OPERATOR))["items"]
    return [(row["status"], row["error_code"], row["error"]) for row in listed]


async def test_what_was_done_is_completed_with_its_summary(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        await run.begin({})
        await run.on_progress({"done": 1, "total": 1})
        return Page()

    state = await ended(steps)
    assert (state.name, state.message) == ("Completed", "1 done")
    assert await rows(hub_database) == [("completed", None, None)]


async def test_a_run_with_nothing_to_do_leaves_no_row(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        return None

    state = await ended(steps)
    assert (state.name, state.message) == ("Completed", "nothing to do")
    assert await rows(hub_database) == []


async def test_a_stored_run_with_nothing_to_do_is_completed(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        return None

    job_id = await mirror.add("job_cleanup", {})
    assert (await ended(steps, job_id)).name == "Completed"
    assert (await store.get(hub_database, OPERATOR, job_id))["result"] == {}


async def test_what_is_left_makes_it_a_failure_that_is_not_tried_again(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        await run.begin({})
        return Page("incomplete")

    state = await ended(steps)
    assert (state.name, state.message) == ("Failed", "incomplete: One is left.")
    assert await rows(hub_database) == [("failed", "incomplete", "One is left.")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CannotOpen(SECRET, None), "cannot-open: Sealed bytes that no key of the ring opens"),
        (ValueError(SECRET), "internal-error: a ValueError that should not happen"),
        (NoSecondKey("set VAULT_NEW_KEY."), "no-second-key: There is no second key to rotate to: set VAULT_NEW_KEY"),
    ],
)
async def test_an_error_ends_it_for_good_without_its_secret(
    hub_database: Database, mirror: Mirror, prefect_server: Path, error: Exception, said: str
) -> None:
    state = await ended(raising(error))
    assert (state.name, state.message) == ("Failed", said)
    ((status, code, message),) = await rows(hub_database)
    assert (status, code) == ("failed", said.partition(":")[0])
    assert SECRET not in str(message)
    for folder, _, names in os.walk(prefect_server):
        assert not any(SECRET.encode() in Path(folder, name).read_bytes() for name in names)


async def test_a_database_that_is_away_for_a_moment_is_asked_again_later(
    hub_database: Database, mirror: Mirror
) -> None:
    state = await ended(raising(DatabaseUnavailable()))
    assert (state.name, state.type.value) == ("AwaitingRetry", "SCHEDULED")
    assert [row[:2] for row in await rows(hub_database)] == [("failed", "database-unavailable")]


async def test_a_run_whose_row_was_cancelled_is_cancelled(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        await run.begin({})
        await store.cancel(hub_database, OPERATOR, run.row)
        await run.on_progress({"done": 1})

    assert (await ended(steps)).name == "Cancelled"
    assert [row[:2] for row in await rows(hub_database)] == [("cancelled", "cancelled")]


async def test_a_second_run_at_the_same_time_leaves_the_work_to_the_first(
    hub_database: Database, mirror: Mirror
) -> None:
    async def steps(run: Any) -> Any:
        raise AssertionError("it may not begin")

    async with hub_database.exclusive_lock("upkeep") as free:
        assert free
        state = await ended(steps)
        assert (state.name, state.message) == (
            "Completed",
            "at-work: Another run of upkeep is at work; wait for its end, or look at it in Prefect",
        )
        job_id = await mirror.add("job_cleanup", {})
        assert (await ended(steps, job_id)).name == "Failed"
    assert (await store.get(hub_database, OPERATOR, job_id))["error_code"] == "at-work"


async def test_a_run_that_is_cancelled_in_a_step_of_the_library_stops_there(
    hub_database: Database, mirror: Mirror, owner: psycopg.AsyncConnection[Any]
) -> None:
    from flows.cleanup_jobs import cleanup_jobs
    from tasks import context

    class Cancelling(Cleanup):
        """Has its row cancelled while orphans are looked for."""

        async def fail_orphans(self, days_orphaned: int) -> int:
            for row in (await lists.list_jobs(hub_database, OPERATOR, lists.JobFilter(status="running")))["items"]:
                await store.cancel(hub_database, OPERATOR, row["id"])
            return await super().fail_orphans(days_orphaned)

    kept = await Table(owner).add(status="completed", completed_at=ago(timedelta(days=8)))
    cleanup = Cancelling(hub_database, FakePrefect())
    context.use(cast("Runtime", SimpleNamespace(database=hub_database, mirror=mirror, cleanup=cleanup)))
    assert (await cleanup_jobs(return_state=True)).name == "Cancelled"
    assert (await store.get(hub_database, OPERATOR, kept))["status"] == "completed"


async def test_the_clean_up_leaves_all_its_counts_as_progress_and_result(
    hub_database: Database, mirror: Mirror, owner: psycopg.AsyncConnection[Any]
) -> None:
    from flows.cleanup_jobs import cleanup_jobs
    from tasks import context

    table = Table(owner)
    await table.add(status="completed", completed_at=ago(timedelta(days=8)))
    await table.add(status="failed", error_code="orphaned", completed_at=ago(timedelta(days=2)))
    runtime = SimpleNamespace(
        database=hub_database,
        mirror=mirror,
        cleanup=Cleanup(hub_database, FakePrefect()),
        rotation=Rotation(hub_database, FixedKeyring(Keyring(VaultKey.generate()))),
        limiter=Limiter(hub_database),
        settings=SimpleNamespace(audit_days=365),
    )
    context.use(cast("Runtime", runtime))
    state = await cleanup_jobs(return_state=True)
    assert (state.name, state.message) == ("Completed", "2 jobs deleted, 0 orphans failed")
    (row,) = (await lists.list_jobs(hub_database, OPERATOR))["items"]
    counts = {"orphans_failed": 0, "deleted_completed": 1, "deleted_orphaned": 1}
    assert await table.get(row["id"], "result", "progress") == (counts | {"total_deleted": 2}, counts)


async def test_a_crash_closes_the_row(hub_database: Database, mirror: Mirror) -> None:
    async def steps(run: Any) -> Any:
        await run.begin({})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await ended(steps, retries=0)
    assert [row[:2] for row in await rows(hub_database)] == [("failed", "run-lost")]


async def test_defect_10_prefect_and_the_logs_hold_ids_of_keys_only(
    mirror: Mirror,
    prefect_server: Path,
    database: HubDatabase,
    hub_database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The seed sends the keys themselves, which Prefect would store as parameters of the flow."""
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

    from flows.rotate_vault_key import rotate_vault_key
    from tasks import context

    old, new = VaultKey.generate(), VaultKey.generate()
    insert(database.owner_url, sealed_row(old), unbound_row(old))
    rotation = Rotation(hub_database, FixedKeyring(Keyring(old, (new,)), new))
    context.use(cast("Runtime", SimpleNamespace(database=hub_database, mirror=mirror, rotation=rotation)))
    state = await rotate_vault_key(new_key_id=new.id, return_state=True)
    assert (state.name, state.message) == ("Completed", f"2 values under key {new.id}, 0 left")
    file = Path(PREFECT_SERVER_DATABASE_CONNECTION_URL.value().split(":///")[1])
    kept = [*file.parent.glob(f"{file.name}*"), *(one for one in prefect_server.rglob("*") if one.is_file())]
    found = b"".join(one.read_bytes() for one in kept) + (caplog.text + contents(database.admin_url)).encode()
    assert new.id.encode() in found
    assert not [key.id for key in (old, new) for form in forms(key) if form in found]
