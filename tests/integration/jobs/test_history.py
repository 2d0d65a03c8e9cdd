"""Lists of jobs: what is read for them."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.jobs.store import JOBS
from tests.fixtures.postgres import HubDatabase

COMPLETED = 3000
FILL = """
    INSERT INTO job_results (user_id, job_type, server_id, status, created_at)
    SELECT %(user)s, 'tool_invoke', 'x', CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END,
           now() - make_interval(secs => n)
    FROM generate_series(1, %(jobs)s) AS n
"""


def rows_read(plan: dict[str, Any]) -> float:
    """The rows that the scans of a plan have looked at."""
    own = 0 if "Plans" in plan else plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    return float(own + sum(rows_read(part) for part in plan.get("Plans", [])))


@pytest.mark.parametrize(("status", "most"), [("failed", 3), ("cancelled", 0), ("pending", 0), ("running", 0)])
async def test_a_list_of_a_rare_state_reads_no_other_jobs(database: HubDatabase, status: str, most: int) -> None:
    user = uuid4()
    parameters = {
        "all_users": False,
        "user_id": user,
        "status": status,
        "limit": 51,
        "after_created_at": None,
        "after_id": None,
    }
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute(FILL.replace("n % 1000", "n %% 1000").encode(), {"user": user, "jobs": COMPLETED})
        await connection.execute("ANALYZE job_results")
        explained = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + JOBS["list_jobs"], parameters
        )
        row = await explained.fetchone()
    assert row is not None
    assert rows_read(row[0][0]["Plan"]) <= most
