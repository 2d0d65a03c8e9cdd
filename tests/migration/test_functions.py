"""The documented functions, called as the app's role in service scope."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.postgres import HubDatabase

Connection = psycopg.Connection[dict[str, Any]]
SERVICE = "-c nexus.scope=service"
CHECK = b"SELECT check_rate_limit(%s, %s, %s) AS allowed"
TAKE = b"SELECT * FROM take_rate_limit(%s, %s, %s, %s)"


def one(service: Connection, query: bytes, *params: object) -> dict[str, Any]:
    row = service.execute(query, params).fetchone()
    assert row is not None
    return row


def allowed(service: Connection, *params: object) -> bool:
    return bool(one(service, CHECK, *params)["allowed"])


def test_calls_up_to_the_limit_are_allowed_also_without_a_user(service: Connection) -> None:
    assert [allowed(service, "a", None, 3) for _ in range(4)] == [True, True, True, False]
    assert allowed(service, "b", None, 3)


def test_the_limit_of_a_server_counts_all_its_users(service: Connection) -> None:
    assert [allowed(service, "a", uuid4(), 2) for _ in range(3)] == [True, True, False]


def test_the_stricter_of_two_limits_wins(service: Connection) -> None:
    alice, bob = uuid4(), uuid4()
    takes = [one(service, TAKE, "a", user, 3, 2)["allowed"] for user in (alice, alice, alice, bob, bob)]
    assert takes == [True, True, False, True, False]


@pytest.mark.parametrize(("limit", "expected"), [(0, False), (-1, False), (None, True)])
def test_odd_limits(service: Connection, limit: int | None, expected: bool) -> None:
    assert allowed(service, "a", None, limit) is expected
    assert service.execute("SELECT FROM rate_limit_tracking").rowcount == 0


def test_a_denied_call_writes_nothing_and_says_when_to_come_again(service: Connection) -> None:
    first = one(service, TAKE, "a", None, 1, None)
    assert (first["allowed"], first["remaining"], first["retry_after"]) == (True, 0, 0)
    before = service.execute("SELECT * FROM rate_limit_tracking").fetchall()
    denied = one(service, TAKE, "a", None, 1, None)
    assert (denied["allowed"], denied["remaining"]) == (False, 0)
    assert 0 < denied["retry_after"] <= 61
    assert service.execute("SELECT * FROM rate_limit_tracking").fetchall() == before


def test_no_sliding_minute_holds_more_than_the_limit(service: Connection) -> None:
    """A bucket counts until the youngest call that it may hold is a minute old."""
    insert = (
        b"INSERT INTO rate_limit_tracking (server_id, window_start, request_count) "
        b"VALUES (%s, date_trunc('second', clock_timestamp()) - make_interval(secs => %s), 5)"
    )
    service.execute(insert, ("a", 57))
    service.execute(insert, ("b", 62))
    assert not allowed(service, "a", None, 5)
    assert allowed(service, "b", None, 5)


def test_retry_after_is_when_enough_calls_have_left(service: Connection) -> None:
    for age, calls in ((50, 2), (30, 2), (10, 1)):
        service.execute(
            "INSERT INTO rate_limit_tracking (server_id, window_start, request_count) "
            "VALUES ('a', clock_timestamp() - make_interval(secs => %s), %s)",
            (age, calls),
        )
    assert one(service, TAKE, "a", None, 5, None)["retry_after"] == pytest.approx(11, abs=5)
    assert one(service, TAKE, "a", None, 3, None)["retry_after"] == pytest.approx(31, abs=5)
    assert one(service, TAKE, "a", None, 1, None)["retry_after"] == pytest.approx(51, abs=5)


def test_old_buckets_go_and_minutes_of_older_programs_do_no_harm(service: Connection) -> None:
    service.execute(
        "INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count) VALUES "
        "('a', gen_random_uuid(), date_trunc('minute', now()) - interval '1 hour', 100), "
        "('b', gen_random_uuid(), date_trunc('minute', now()) - interval '1 hour', 100)"
    )
    assert allowed(service, "a", None, 1)
    assert service.execute("SELECT FROM rate_limit_tracking WHERE server_id = 'a'").rowcount == 1
    assert service.execute("SELECT FROM rate_limit_tracking WHERE server_id = 'b'").rowcount == 1


def test_many_at_the_same_time_get_exactly_the_limit(database: HubDatabase) -> None:
    start = threading.Barrier(8)

    def calls(_: int) -> int:
        with psycopg.connect(database.app_url, autocommit=True, row_factory=dict_row, options=SERVICE) as connection:
            start.wait()
            return sum(allowed(connection, "a", None, 20) for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(calls, range(8))) == 20


def test_two_users_cannot_share_the_last_call_of_a_server(database: HubDatabase, service: Connection) -> None:
    with psycopg.connect(database.app_url, row_factory=dict_row, options=SERVICE) as first:
        assert allowed(first, "a", uuid4(), 1)
        service.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            allowed(service, "a", uuid4(), 1)
    assert not allowed(service, "a", uuid4(), 1)


def system_server(service: Connection, name: str, key_id: str = "0123abcd", *, enabled: bool = True) -> UUID:
    query = (
        b"INSERT INTO system_servers (name, transport, config_encrypted, key_id, endpoint, enabled) "
        b"VALUES (%s, 'http', %s, %s, 'x', %s) RETURNING id"
    )
    return UUID(str(one(service, query, name, b"x" * 40, key_id, enabled)["id"]))


def due(service: Connection) -> set[UUID]:
    return {row["server_ref_id"] for row in service.execute("SELECT * FROM refresh_expired_cache_entries()")}


def test_a_server_that_never_synced_is_due(service: Connection) -> None:
    server = system_server(service, "time")
    system_server(service, "off", enabled=False)
    assert due(service) == {server}


def test_a_server_is_due_by_its_state_or_by_an_entry(service: Connection) -> None:
    server = system_server(service, "time")
    service.execute("UPDATE server_state SET next_refresh_at = now() + interval '1 day'")
    assert due(service) == set()
    for table, columns in (("tool_cache", ", namespaced_name"), ("resource_cache", ""), ("prompt_cache", "")):
        service.execute(
            f"INSERT INTO {table} (server_type, server_ref_id, expires_at{columns}) "
            f"VALUES ('system', %s, now() - interval '1 s'{', $$x$$' if columns else ''})".encode(),
            (server,),
        )
        assert due(service) == {server}
        service.execute(f"DELETE FROM {table}".encode())
        assert due(service) == set()


def test_rotation_counts_what_is_sealed_with_the_primary_and_names_the_rest(service: Connection) -> None:
    system_server(service, "new", "11111111")
    old = system_server(service, "old", "22222222")
    seed = uuid4()
    service.execute(
        "INSERT INTO user_servers (id, user_id, config_encrypted) VALUES (%s, %s, %s)", (seed, uuid4(), b"x" * 40)
    )
    service.execute("INSERT INTO user_servers (user_id) VALUES (gen_random_uuid())")
    service.execute("SET nexus.vault_primary_key_id = '11111111'")
    row = one(service, b"SELECT * FROM rotate_vault_key()")
    assert row["servers_updated"] == 1
    assert row["errors"] == [
        f"Server system/{old}: sealed with key 22222222, not with 11111111",
        f"Server user/{seed}: sealed with a key of no known id, not with 11111111",
    ]


@pytest.mark.parametrize("setting", ["RESET nexus.vault_primary_key_id", "SET nexus.vault_primary_key_id = ''"])
def test_rotation_without_a_primary_raises(service: Connection, setting: str) -> None:
    service.execute(setting.encode())
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        service.execute("SELECT * FROM rotate_vault_key()")


def old_jobs(service: Connection) -> None:
    service.execute(
        "INSERT INTO job_results (job_type, server_id, status, error_code, created_at, completed_at) "
        "SELECT 'tool_invoke', 'hub', s.status, s.code, now() - s.age, CASE WHEN s.ended THEN now() - s.age END "
        "FROM (VALUES ('completed', NULL, interval '8 days', true), ('failed', 'x', '8 days', true), "
        "('cancelled', NULL, '8 days', true), ('completed', NULL, '6 days', true), "
        "('failed', 'orphaned', '2 days', true), "
        "('failed', 'orphaned', '1 hour', true), ('pending', NULL, '30 days', false), "
        "('running', NULL, '30 days', false)"
        ") AS s (status, code, age, ended)"
    )


@pytest.mark.both_forms
def test_clean_up_counts_all_it_deletes_and_leaves_live_jobs(service: Connection) -> None:
    old_jobs(service)
    row = one(service, b"SELECT * FROM cleanup_job_results_manual()")
    assert row == {"deleted_completed": 3, "deleted_orphaned": 1, "total_deleted": 4}
    row = one(service, b"SELECT * FROM cleanup_job_results_manual(0, 0)")
    assert row == {"deleted_completed": 1, "deleted_orphaned": 1, "total_deleted": 2}
    left = service.execute("SELECT status FROM job_results ORDER BY status").fetchall()
    assert left == [{"status": "pending"}, {"status": "running"}]


@pytest.mark.both_forms
def test_the_nightly_clean_up_returns_the_full_count(service: Connection) -> None:
    old_jobs(service)
    assert one(service, b"SELECT cleanup_old_job_results() AS deleted") == {"deleted": 4}


@pytest.mark.parametrize("days", [(-1, 1), (1, -1), (3651, 1), (1, 3651), (None, 1), (1, None)])
def test_clean_up_refuses_days_out_of_range(service: Connection, days: tuple[int | None, int | None]) -> None:
    old_jobs(service)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        service.execute("SELECT * FROM cleanup_job_results_manual(%s, %s)", days)
    assert service.execute("SELECT FROM job_results").rowcount == 8


@pytest.mark.both_forms
def test_a_user_deletes_no_jobs_by_the_functions(database: HubDatabase, service: Connection) -> None:
    old_jobs(service)
    with psycopg.connect(database.app_url, options=f"-c nexus.scope=user -c nexus.user_id={uuid4()}") as user:
        assert user.execute("SELECT * FROM cleanup_job_results_manual(0, 0)").fetchall() == [(0, 0, 0)]


@pytest.mark.both_forms
def test_waking_the_dispatch_names_the_job_and_leaves_it(service: Connection, database: HubDatabase) -> None:
    before = one(service, b"INSERT INTO job_results (job_type, server_id) VALUES ('tool_invoke', 'hub') RETURNING *")
    with psycopg.connect(database.app_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_dispatch")
        service.execute("SELECT execute_job_via_pg_net(job_id => %s)", (before["id"],))
        told = [notice.payload for notice in listener.notifies(timeout=10, stop_after=1)]
    assert told == [str(before["id"])]
    assert one(service, b"SELECT * FROM job_results") == before


@pytest.mark.both_forms
def test_waking_the_dispatch_for_an_unknown_job_raises(service: Connection) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match="not found"):
        service.execute("SELECT execute_job_via_pg_net(%s)", (uuid4(),))
