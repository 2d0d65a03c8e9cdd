"""Defects 25 to 31: rate limits, and how old the catalog may be."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.catalog import read
from nexus_hub.catalog import store as catalog
from nexus_hub.db.migrate import known_migrations, pending
from nexus_hub.errors import DatabaseUnavailable, RefreshRunning
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.snapshot import Snapshot
from tests.defects import seed_code
from tests.defects.replay import SEED, Connection, count, one
from tests.fixtures.jobs import prepared
from tests.fixtures.library import CutDatabase, Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.upstreams import own_server

ALICE, BOB = uuid4(), uuid4()
CHECK = "SELECT check_rate_limit(%s, %s, %s) AS allowed"
TAKE = "SELECT allowed FROM take_rate_limit(%s, %s, %s, %s)"
SERVED = "SELECT FROM tool_cache WHERE enabled = true AND expires_at >= now()"
DUE = "SELECT FROM refresh_expired_cache_entries()"
KINDS: tuple[read.Kind, ...] = ("tools", "resources", "prompts")


@pytest_asyncio.fixture
async def cut(database: HubDatabase) -> AsyncIterator[CutDatabase]:
    """A database that can be cut off."""
    async with CutDatabase(database.app_url, name="cut") as pool:
        yield pool


def allowed(connection: Connection, user: UUID | None, calls: int, limit: int = 2, server: str = "s") -> list[bool]:
    """What check_rate_limit says to so many calls."""
    return [one(connection, CHECK, server, user, limit)["allowed"] for _ in range(calls)]


async def test_defect_25_all_sql_runs_on_a_plain_postgresql(seed: Connection, database: HubDatabase) -> None:
    seed.execute(b"DROP TABLE rate_limit_tracking")
    with pytest.raises(psycopg.ProgrammingError, match="idx_rate_limit_window"):
        seed.execute(SEED["rate_limit_table_as_written"])
    assert len(known_migrations()) > 0
    assert await pending(database.owner_url) == [], "each file of ours has run on this server"
    with psycopg.connect(database.owner_url) as owner:
        assert owner.execute("SELECT FROM pg_indexes WHERE indexname = 'idx_rate_limit_window'").rowcount == 1


async def test_defect_26_a_call_without_a_user_is_limited_and_an_error_lets_nothing_through(
    seed: Connection, ours: Connection, library: Library, cut: CutDatabase, connections: Connections
) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        allowed(seed, None, 1)
    assert all(seed_code.check_rate_limit(seed, "s", None, 2) for _ in range(5)), "a system server has no limit"

    assert allowed(ours, None, 3) == [True, True, False]
    job, _ = await store.add(
        library.database, OPERATOR, JobRequest("tool_invoke", "s__t", {}), ServerRef("system", uuid4()), "t"
    )
    execution = Execution(cut, library.servers, connections, Limiter(cut), 1024)
    attempt = await execution.claim(job["id"], 1, None)
    assert isinstance(attempt, Attempt)
    attempt.call, cut.cut = prepared(attempt, Limits(2)), True
    with pytest.raises(DatabaseUnavailable):
        await execution.admit(attempt)
    assert one(ours, "SELECT sent_at FROM job_results") == {"sent_at": None}


def test_defect_27_the_limit_of_a_server_holds_for_all_its_users_and_the_stricter_wins(
    seed: Connection, ours: Connection
) -> None:
    assert [allowed(seed, user, 2) for user in (ALICE, BOB)] == [[True, True], [True, True]], (
        "4 calls with a limit of 2"
    )
    assert [allowed(ours, user, 2) for user in (ALICE, BOB)] == [[True, True], [False, False]]
    both = [one(ours, TAKE, "t", user, 3, 2)["allowed"] for user in (ALICE, ALICE, ALICE, BOB, BOB)]
    assert both == [True, True, False, True, False]


async def test_defect_28_no_minute_holds_more_than_the_limit_and_denied_calls_write_nothing(
    seed: Connection, ours: Connection, library: Library
) -> None:
    before = "INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count) VALUES (%s, %s, {}, 10)"
    count(seed, before.format("date_trunc('minute', now()) - interval '1 minute'"), "s", ALICE)
    count(seed, before.format("now() - interval '1 day'"), "s", ALICE)
    assert sum(allowed(seed, ALICE, 15, limit=10)) >= 10, "10 before the edge of a minute, 10 after it"
    assert one(seed, "SELECT sum(request_count) AS calls FROM rate_limit_tracking") == {"calls": 35}, "denied ones too"
    assert count(seed, "SELECT FROM rate_limit_tracking WHERE window_start < now() - interval '1 hour'") == 1

    count(ours, before.format("date_trunc('second', clock_timestamp()) - interval '1 second'"), "s", ALICE)
    count(ours, before.format("now() - interval '1 day'"), "s", ALICE)
    rows = ours.execute(b"SELECT * FROM rate_limit_tracking").fetchall()
    assert not any(allowed(ours, ALICE, 15, limit=10))
    assert ours.execute(b"SELECT * FROM rate_limit_tracking").fetchall() == rows
    server = uuid4()
    takes = [await Limiter(library.database).take(server, ALICE, Limits(1)) for _ in range(2)]
    assert [one_take.allowed for one_take in takes] == [True, False]
    assert 0 < takes[1].retry_after <= 61
    assert allowed(ours, ALICE, 1, limit=11) == [True]
    assert count(ours, "SELECT FROM rate_limit_tracking WHERE window_start < now() - interval '1 hour'") == 0


async def test_defect_29_servers_do_not_expire_together(seed: Connection, ours: Connection, library: Library) -> None:
    seed.execute(
        b"INSERT INTO tool_cache (server_ref_id, namespaced_name) SELECT gen_random_uuid(), 'x' "
        b"FROM generate_series(1, 20)"
    )
    assert count(seed, "SELECT DISTINCT expires_at FROM tool_cache") == 1, "20 servers of the seed expire at once"

    seen = Snapshot("", None, None, {}, tools=[tool("a"), tool("b")], prompts=[{"name": "p"}])
    async with library.database.transaction() as transaction:
        for number in range(20):
            await catalog.store(transaction, ServerRef("system", uuid4()), f"srv-{number}", None, seen)
    rows = ours.execute(
        b"SELECT extract(epoch FROM min(expires_at) - now())::float / 3600 AS hours, "
        b"count(DISTINCT expires_at) AS times FROM (SELECT server_ref_id, expires_at FROM tool_cache "
        b"UNION ALL SELECT server_ref_id, expires_at FROM prompt_cache) AS entries GROUP BY server_ref_id"
    ).fetchall()
    assert {row["times"] for row in rows} == {1}, "all entries of one server are read at once"
    hours = [row["hours"] for row in rows]
    assert len({round(one_of, 3) for one_of in hours}) > 10
    assert all(24 * 0.89 < one_of < 24 * 1.1 for one_of in hours)


def test_defect_30_every_entry_expires_and_a_server_that_never_synced_is_due(
    seed: Connection, ours: Connection
) -> None:
    timeless = b"INSERT INTO tool_cache (server_ref_id, namespaced_name, expires_at) VALUES (%s, 'x', NULL)"
    seed.execute(timeless, (uuid4(),))
    assert (count(seed, SERVED), count(seed, DUE)) == (0, 0), "in the seed it is neither served nor due"
    with pytest.raises(psycopg.errors.NotNullViolation):
        ours.execute(timeless, (uuid4(),))

    for connection in (seed, ours):
        connection.execute(b"INSERT INTO user_servers (user_id) VALUES (%s)", (ALICE,))
    assert count(seed, DUE) == 0, "in the seed a server that never synced is never due"
    assert count(ours, DUE) == 1
    with pytest.raises(psycopg.errors.NotNullViolation):
        ours.execute(b"UPDATE server_state SET next_refresh_at = NULL")


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}


async def entries(library: Library, kind: read.Kind) -> dict[str, bool]:
    """The entries that are served, and whether each is stale."""
    found = asdict(await read.list_entries(library.database, OPERATOR, kind))["items"]
    return {str(item["server_ref_id"]): item["stale"] for item in found}


async def test_defect_31_everything_is_refreshed_and_a_dead_server_hurts_no_other(
    seed: Connection, ours: Connection, library: Library
) -> None:
    reached: list[str] = []

    async def refresh_tools(server: str) -> None:
        if server == "dead":
            raise ConnectionError
        reached.append(server)

    with pytest.raises(ConnectionError):
        await seed_code.refresh_expired_cache(["one", "dead", "two"], refresh_tools)
    assert reached == ["one"], "one failure ends the seed's loop"
    seed.execute(b"INSERT INTO tool_cache (namespaced_name, expires_at) VALUES ('x', now() - interval '1 s')")
    assert count(seed, SERVED) == 0, "and until it comes to a server, its tools are gone"

    servers = [await library.servers.register(name, own_server("offers")) for name in ("one", "two")]
    one_ref, _ = (ServerRef("system", server.id) for server in servers)
    dead = Target(ServerRef("system", uuid4()), "dead", HttpConfig(url="http://127.0.0.1:1/mcp"), 1, guarded=False)
    seen = Snapshot(
        "", None, None, {}, tools=[tool("t")], resources=[{"uri": "a://b", "name": "r"}], prompts=[{"name": "p"}]
    )
    await library.servers._store(dead, None, Limits(), seen)
    for table in ("tool_cache", "resource_cache", "prompt_cache"):
        ours.execute(f"UPDATE {table} SET expires_at = now() - interval '1 s'".encode())
    refresher, dead_id = library.refresher, str(dead.ref.server_ref_id)
    due = await refresher.find_due()
    assert {server.name for server in due} == {"one", "dead", "two"}

    claim = await catalog.claim_refresh(library.database, one_ref)
    with pytest.raises(RefreshRunning):
        await library.refresher.refresh(one_ref)
    assert (await entries(library, "tools"))[str(one_ref.server_ref_id)] is True, "served as stale while it is read"
    await catalog.release_refresh(library.database, one_ref, claim)

    outcomes = await asyncio.gather(*map(refresher.refresh_due, due))
    assert {outcome.name for outcome in outcomes if outcome.error_code is not None} == {"dead"}
    for kind in KINDS:
        stale = await entries(library, kind)
        assert len(stale) == 3, f"no {kind} have vanished"
        assert [server for server, is_stale in stale.items() if is_stale] == [dead_id]
    assert await refresher.find_due() == [], "the dead one rests before it is tried again"
