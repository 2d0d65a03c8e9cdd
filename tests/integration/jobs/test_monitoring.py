"""The numbers of the views, as the app reads them."""

from dataclasses import asdict

import psycopg

from nexus_hub.db.pool import Database
from nexus_hub.jobs.monitoring import TableAlert, stats, table_alert
from tests.fixtures.postgres import HubDatabase


async def test_the_app_reads_all_users_jobs_in_numbers(hub_database: Database, database: HubDatabase) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url) as owner:
        await owner.execute(
            "INSERT INTO job_results (user_id, job_type, server_id, status, created_at) VALUES "
            "(NULL, 'tool_invoke', 'hub', 'pending', now()), "
            "(gen_random_uuid(), 'tool_invoke', 'hub', 'failed', now() - interval '8 days')"
        )
    found = asdict(await stats(hub_database))
    assert str(found.pop("table_size")).endswith("kB")
    assert found == {
        "total_jobs": 2,
        "completed": 0,
        "failed": 1,
        "pending": 1,
        "running": 0,
        "older_than_7_days": 1,
    }
    assert await table_alert(hub_database) == TableAlert("OK", 2)
