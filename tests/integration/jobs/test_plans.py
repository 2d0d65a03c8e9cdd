"""How the planner finds jobs in a large table of which hardly a row is open."""

import re

import psycopg
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from tests.fixtures.postgres import HubDatabase

STATEMENTS = {
    name: text.decode() for file in ("jobs", "job_lists", "mirror", "cleanup") for name, text in load(file).items()
}
BY_ID = re.compile(
    r"(WHERE|AND) (\w+\.)?(id = %\(id\)s|flow_run_id = %\(flow_run_id\)s)|%\(ids\)s|_to_recordset\(%\((notes|ends)\)s\)"
)
FINDS_BY_ID = {name for name, text in STATEMENTS.items() if BY_ID.search(text) and "INSERT INTO" not in text}
KEYS = {"job_results_pkey", "idx_job_results_flow_run", "idx_job_results_batch"}
PARAMETER = re.compile(r"%\((\w+)\)[sbt]")

pytestmark = [pytest.mark.usefixtures("ended_jobs"), pytest.mark.one_table]


@pytest.fixture
def ended_jobs(database: HubDatabase) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        connection.execute(
            "INSERT INTO job_results"
            " (job_type, server_id, status, flow_run_id, idempotency_key, created_at, completed_at)"
            " SELECT 'tool_invoke', 'x', CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END, gen_random_uuid(),"
            " 'key ' || n, now() - n * interval '1 s', now() - n * interval '1 s' FROM generate_series(1, 10000) AS n"
        )
        connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
        connection.execute("VACUUM ANALYZE job_results")


async def indexes(database: Database, name: str, mode: str = "force_generic_plan", **values: str) -> set[str]:
    """The names of the indexes by which a statement finds jobs, where the table is too large to read all of it."""
    text, names = STATEMENTS[name], list(dict.fromkeys(PARAMETER.findall(STATEMENTS[name])))
    query = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")
    given = ", ".join(values.get(one, "NULL") for one in names)
    async with database.transaction() as transaction:
        run = transaction.connection.execute
        await run(f"SET LOCAL plan_cache_mode = {mode}; SET LOCAL enable_seqscan = off".encode())
        await run(f"PREPARE asked AS {query}".encode())
        lines = await (await run(f"EXPLAIN EXECUTE asked {f'({given})' if given else ''}".encode())).fetchall()
        await run(b"DEALLOCATE asked")
    plan = "\n".join(str(line["QUERY PLAN"]) for line in lines)
    return {"".join(one) for one in re.findall(r"using (\w*job_results\w*)|on (\w*job_results_\w+) ", plan)}


async def test_jobs_are_found_by_their_keys(hub_database: Database) -> None:
    """Not by an index of open jobs, which looks empty to the planner and may be full of dead versions."""
    assert len(FINDS_BY_ID) > 20
    found = {name: await indexes(hub_database, name) - KEYS for name in sorted(FINDS_BY_ID - {"undispatched_job"})}
    assert {name: others for name, others in found.items() if others} == {}


@pytest.mark.parametrize(
    ("name", "index", "values"),
    [
        ("rescue_expired_leases", "idx_job_results_lease", {"limit": "200", "lease_seconds": "30"}),
        ("lost_runs", "idx_job_results_lost_run", {"limit": "200"}),
        ("silent_mirrors", "idx_job_results_open_mirrors", {"limit": "200", "grace": "30"}),
        ("unended_jobs", "idx_job_results_newest_open", {"limit": "1000", "all_users": "true"}),
        ("find_jobs", "idx_job_results_all_unsuccessful", {"limit": "51", "all_users": "true", "status": "'failed'"}),
    ],
)
async def test_each_look_has_its_index(hub_database: Database, name: str, index: str, values: dict[str, str]) -> None:
    assert index in await indexes(hub_database, name, "force_custom_plan", **values)


async def test_jobs_of_the_operator_are_found_by_their_idempotency_keys(hub_database: Database) -> None:
    values = {"idempotency_keys": "'{key 7,key 8}'"}
    found = await indexes(hub_database, "jobs_of_keys", "force_custom_plan", **values)
    assert found == {"job_results_idempotency_key"}
    async with hub_database.transaction() as transaction:
        columns = await transaction.only(
            b"SELECT pg_get_indexdef('job_results_idempotency_key'::regclass, 1, true)", str
        )
    assert columns == "idempotency_key"
