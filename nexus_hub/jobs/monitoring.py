"""The documented monitoring queries, as the views `job_results_stats` and `job_results_alert` answer them."""

from typing import Any

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load

MONITORING = load("monitoring")


async def stats(database: Database) -> dict[str, Any]:
    """Count all jobs and those in each state; give how many are older than 7 days, and how large the table is.

    Exact for small tables; else estimates, but for `pending` and `running`. `table_size` is text, such as `12 MB`.
    """
    return await _row(database, "job_results_stats")


async def table_alert(database: Database) -> dict[str, Any]:
    """`status` and `row_count`: the status is `OK`, or the documented alert once there are over 1,000,000 rows."""
    return await _row(database, "job_results_alert")


async def _row(database: Database, query: str) -> dict[str, Any]:
    async with database.transaction() as transaction:
        row = await transaction.one(MONITORING[query])
    assert row is not None  # noqa: S101 - the views always give a row
    return row
