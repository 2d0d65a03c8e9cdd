"""Lists of jobs: what is read for them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.jobs.lists import JOB_LISTS, JobFilter, list_jobs
from nexus_hub.models import OPERATOR
from tests.fixtures.postgres import HubDatabase

COMPLETED = 3000
SERVER, TOOL = UUID(int=7), "seldom"
FILTERS: dict[str, Any] = dict.fromkeys(
    [
        "user_id",
        "status",
        "job_type",
        "lane",
        "server_ref_id",
        "tool_name",
        "error_code",
        "after_created_at",
        "after_id",
    ]
)
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
    parameters = FILTERS | {"all_users": False, "is_operator": False, "user_id": user, "status": status, "limit": 51}
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute(FILL.replace("n % 1000", "n %% 1000").encode(), {"user": user, "jobs": COMPLETED})
        await connection.execute("ANALYZE job_results")
        explained = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + JOB_LISTS["find_jobs"], parameters
        )
        row = await explained.fetchone()
    assert row is not None
    assert rows_read(row[0][0]["Plan"]) <= most


MANY = """
    INSERT INTO job_results
        (job_type, server_id, server_ref_id, tool_name, status, error_code, lane, created_at)
    SELECT CASE WHEN n %% 997 = 0 THEN 'prompt_execute' ELSE 'tool_invoke' END, x.server, x.server::uuid,
           CASE WHEN n %% 991 = 0 THEN %(tool)s ELSE 'often' END,
           CASE WHEN n %% 20 = 0 THEN 'failed' ELSE 'completed' END,
           CASE WHEN n %% 1000 = 0 THEN 'seldom' WHEN n %% 20 = 0 THEN 'often' END,
           CASE WHEN n %% 983 = 0 THEN 'direct' ELSE 'durable' END, now() - make_interval(secs => n)
    FROM generate_series(1, 10000) AS n
    CROSS JOIN LATERAL (SELECT CASE WHEN n %% 977 = 0 THEN %(server)s::text ELSE md5((n %% 5)::text)::uuid::text END
                        AS server) AS x
"""


async def test_no_filter_of_a_list_reads_many_other_jobs(database: HubDatabase) -> None:
    wanted: list[dict[str, Any]] = [
        {"server_ref_id": SERVER},
        {"tool_name": TOOL},
        {"job_type": "prompt_execute"},
        {"job_type": "job_cleanup"},
        {"lane": "direct"},
        {"error_code": "seldom"},
        {"error_code": "never"},
        {"server_ref_id": SERVER, "status": "failed"},
        {"server_ref_id": SERVER, "tool_name": TOOL},
        {"tool_name": TOOL, "status": "running"},
        {"lane": "direct", "job_type": "prompt_execute"},
        {"status": "failed", "after_created_at": datetime.now(UTC) - timedelta(hours=2), "after_id": UUID(int=0)},
    ]
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        await connection.execute("ALTER TABLE job_results DROP CONSTRAINT job_results_ended_has_end")
        await connection.execute(MANY.encode(), {"server": SERVER, "tool": TOOL})
        await connection.execute("VACUUM ANALYZE job_results")
        read = []
        for filters in wanted:
            explained = await connection.execute(
                b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + JOB_LISTS["find_jobs"],
                FILTERS | {"all_users": True, "is_operator": True, "limit": 51} | filters,
            )
            row = await explained.fetchone()
            assert row is not None
            read.append(rows_read(row[0][0]["Plan"]))
    # All that have failed are 500 of the 10,000, and a seldom server or tool has 10.
    assert max(read) <= 520, list(zip(read, wanted, strict=True))


async def test_lists_are_planned_for_what_each_asks_for(hub_database: Database) -> None:
    """However many were planned before on the same connection."""
    for number in range(15):
        await list_jobs(hub_database, OPERATOR, JobFilter(tool=f"t{number % 2}", search="x" if number % 3 else None))
    async with hub_database.transaction() as transaction:
        plans = await transaction.only(
            b"SELECT coalesce(sum(generic_plans), 0)::int8 AS of_all, coalesce(sum(custom_plans), 0)::int8 AS of_one"
            b" FROM pg_prepared_statements WHERE statement LIKE '%%nexus_job_is_asked%%'"
        )
    assert plans["of_all"] == 0 < plans["of_one"]
