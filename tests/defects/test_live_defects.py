"""Defects 32 to 34: live status, monitoring and migrations."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import psycopg
import pytest

from nexus_hub.db.migrate import known_migrations, migrate
from nexus_hub.db.pool import Database
from nexus_hub.jobs.monitoring import stats
from nexus_hub.live.feed import Follower
from nexus_hub.live.streams import begin_job
from nexus_hub.models import OPERATOR
from tests.defects import seed_code
from tests.defects.replay import SEED, Connection, count
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import Served

PATIENCE = 15.0


async def told_of(follower: Follower, version: int) -> None:
    """Wait until a change to that version waits in the follower's queue."""
    async with asyncio.timeout(PATIENCE):
        while not any(change is not None and change.version == version for change in follower._queue):
            await asyncio.sleep(0.01)


async def test_defect_32_no_change_is_lost_between_the_first_look_and_the_first_news(served: Served) -> None:
    state, listeners = ["pending"], list[Callable[[str], None]]()

    def fetch() -> str:
        fetched = state[0]
        state[0] = "completed"  # the job ends; whoever listens is told
        for tell in listeners:
            tell(state[0])
        return fetched

    page = seed_code.JobStatus(fetch, listeners.append)
    assert (page.shown, state) == ("pending", ["completed"]), "the seed's page waits for ever"

    for ends_before in (True, False):
        job_id = await served.stored()
        with served.runtime.feed.follow(OPERATOR, job_id) as follower:
            attempt = await served.claimed(job_id)
            if ends_before:
                await served.completed(attempt)
            await told_of(follower, 3 if ends_before else 2)  # before the row is read
            stream = await begin_job(served.database, follower, job_id, PATIENCE)
            if not ends_before:
                await served.completed(attempt)
            told = [(one.version, one.data["status"]) async for one in stream if one]
        assert told == ([] if ends_before else [(2, "running")]) + [(3, "completed")], (
            "each once, nothing older after it"
        )

    live = await served.stored()
    async with served.client() as client, aclosing(client.events(str(live))) as events:
        async with asyncio.timeout(PATIENCE):
            seen = [(await anext(events)).data["status"]]
            await served.completed(await served.claimed(live))
            seen += [event.data["status"] async for event in events]
    assert seen == ["pending", "running", "completed"]


async def test_defect_33_monitoring_does_not_count_all_rows(
    seed: Connection, database: HubDatabase, hub_database: Database
) -> None:
    plan = "\n".join(row["QUERY PLAN"] for row in seed.execute(b"EXPLAIN " + SEED["monitoring"]).fetchall())
    assert "Seq Scan on job_results" in plan, "the seed's query reads the whole table"

    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        admin.execute("ALTER TABLE job_results SET (autovacuum_enabled = false)")
        admin.execute(
            "INSERT INTO job_results (job_type, server_id, status, completed_at) "
            "SELECT 'tool_invoke', 'x', 'completed', now() FROM generate_series(1, 20000)"
        )
        admin.execute("INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'x')")
        admin.execute("ANALYZE job_results")
        admin.execute("DELETE FROM job_results WHERE status = 'completed'")
    found = await stats(hub_database)
    assert found.total_jobs > 10_000, "an estimate: who counts would find 1"
    assert (found.pending, found.running) == (1, 0), "but live jobs are counted, by their index"


async def test_defect_34_migrations_run_again_and_on_a_server_without_foreign_roles(
    seed: Connection, database: HubDatabase
) -> None:
    for block in ("tables", "vault_migration", "cache", "rate_limits"):
        with pytest.raises(psycopg.ProgrammingError, match="exist"):
            seed.execute(SEED[block])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        seed.execute(b"CREATE EXTENSION IF NOT EXISTS pg_net")
    if not count(seed, "SELECT FROM pg_roles WHERE rolname = 'service_role'"):
        with pytest.raises(psycopg.errors.UndefinedObject, match="service_role"):
            seed.execute(SEED["cleanup_grant"])

    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'x')")
        owner.execute("DROP TABLE schema_migrations")  # as if nobody knew what was applied
    assert await migrate(database.owner_url) == [migration.name for migration in known_migrations()]
    assert await migrate(database.owner_url) == []
    with psycopg.connect(database.owner_url) as owner:
        assert owner.execute("SELECT FROM job_results").rowcount == 1
