"""What the database itself keeps true of jobs, servers and the catalog."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.postgres import HubDatabase

Connection = psycopg.Connection[dict[str, Any]]
INSERT = b"INSERT INTO job_results (job_type, server_id, status) VALUES ('tool_invoke', %s, %s) RETURNING *"
SEALED = b"x" * 40


@pytest.fixture
def owner(database: HubDatabase) -> Iterator[Connection]:
    """The owner, whom row security does not touch: what holds for it holds for all."""
    with psycopg.connect(database.owner_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def job(owner: Connection, status: str = "pending", server_id: str = "hub") -> dict[str, Any]:
    row = owner.execute(INSERT, (server_id, status)).fetchone()
    assert row is not None
    return row


def update(owner: Connection, job_id: UUID, assignments: str) -> dict[str, Any]:
    row = owner.execute(
        f"UPDATE job_results SET {assignments} WHERE id = %s RETURNING *".encode(), (job_id,)
    ).fetchone()
    assert row is not None
    return row


def system_server(owner: Connection, name: str) -> UUID:
    row = owner.execute(
        "INSERT INTO system_servers (name, transport, config_encrypted, key_id, endpoint) "
        "VALUES (%s, 'http', %s, '0123abcd', 'https://example.com') RETURNING id",
        (name, SEALED),
    ).fetchone()
    assert row is not None
    return UUID(str(row["id"]))


def user_server(owner: Connection, name: str | None, user_id: UUID | None = None) -> dict[str, Any]:
    row = owner.execute(
        "INSERT INTO user_servers (name, user_id, config_encrypted, key_id) VALUES (%s, %s, %s, '0123abcd') "
        "RETURNING *",
        (name, user_id or uuid4(), SEALED),
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("ended", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("assignment", ["status = 'running'", "result = '1'", "status = status", "error = 'late'"])
def test_an_ended_job_never_changes(owner: Connection, ended: str, assignment: str) -> None:
    row = job(owner, ended)
    with pytest.raises(psycopg.DatabaseError, match="has ended as") as raised:
        update(owner, row["id"], assignment)
    assert raised.value.sqlstate == "NX001"
    assert owner.execute("SELECT * FROM job_results").fetchall() == [row]


@pytest.mark.parametrize("ended", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("before", ["pending", "running"])
def test_an_end_gets_its_time_and_loses_the_claim(owner: Connection, before: str, ended: str) -> None:
    row = job(owner, before)
    if before == "running":
        update(owner, row["id"], "claim_id = gen_random_uuid(), lease_expires_at = now()")
    row = update(owner, row["id"], f"status = '{ended}'")
    assert row["completed_at"] is not None
    assert (row["claim_id"], row["lease_expires_at"]) == (None, None)


def test_a_claim_ends_with_the_way_back_to_pending(owner: Connection) -> None:
    row = update(
        owner,
        job(owner)["id"],
        "status = 'running', claim_id = gen_random_uuid(), lease_expires_at = now(), attempt = 1",
    )
    assert row["claim_id"] is not None
    assert row["started_at"] is not None
    assert update(owner, row["id"], "status = 'pending'")["claim_id"] is None


def test_each_change_counts_the_version_up_and_is_told(owner: Connection, database: HubDatabase) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_jobs")
        row = job(owner)
        update(owner, row["id"], "status = 'running', attempt = 1")
        update(owner, row["id"], "progress = '{\"progress\": 1}'")
        update(owner, row["id"], "progress = '{\"progress\": 2}', status = 'failed', error_code = repeat('é', 5000)")
        told = [json.loads(notice.payload) for notice in listener.notifies(timeout=10, stop_after=4)]
    assert [(each["version"], each["status"], each["attempt"], each["event"]) for each in told] == [
        (1, "pending", 0, "state"),
        (2, "running", 1, "state"),
        (3, "running", 1, "progress"),
        (4, "failed", 1, "state"),
    ]
    assert {(each["id"], each["job_type"], each["user_id"]) for each in told} == {
        (str(row["id"]), "tool_invoke", row["user_id"])
    }
    assert told[-1]["error_code"] == "é" * 100


@pytest.mark.parametrize("beat", ["heartbeat_at", "lease_expires_at", "sent_at"])
def test_a_heartbeat_is_no_change(owner: Connection, database: HubDatabase, beat: str) -> None:
    row = job(owner, "running")
    update(owner, row["id"], "claim_id = gen_random_uuid(), lease_expires_at = now()")
    with psycopg.connect(database.app_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_jobs")
        beaten = update(owner, row["id"], f"{beat} = now() + interval '1 minute'")
        ended = update(owner, row["id"], "status = 'completed'")
        (told,) = [json.loads(notice.payload) for notice in listener.notifies(timeout=10, stop_after=1)]
    assert (beaten["version"], ended["version"], told["version"]) == (2, 3, 3)


def test_a_result_of_any_size_is_told_of(owner: Connection) -> None:
    row = job(owner, "running")
    owner.execute(
        "UPDATE job_results SET status = 'completed', result = to_jsonb(repeat('x', 100000)) WHERE id = %s",
        (row["id"],),
    )
    assert owner.execute("SELECT FROM job_results WHERE status = 'completed'").rowcount == 1


@pytest.mark.parametrize(
    "assignments",
    [
        "status = 'paused'",
        "job_type = 'other'",
        "params = '[]'",
        "completed_at = now()",
        "attempt = 4",
        "attempt = -1",
        "max_attempts = 21",
        "timeout_seconds = 0",
        "retry = 'never'",
        "server_type = 'other'",
        "status = 'running', claim_id = gen_random_uuid()",
        "idempotency_key = repeat('x', 201)",
    ],
)
def test_a_bad_state_is_refused(owner: Connection, assignments: str) -> None:
    row = job(owner)
    with pytest.raises(psycopg.errors.CheckViolation):
        update(owner, row["id"], assignments)
    assert owner.execute("SELECT * FROM job_results").fetchall() == [row]


def test_an_idempotency_key_is_unique_for_one_user_and_for_the_operator(owner: Connection) -> None:
    query = (
        b"INSERT INTO job_results (job_type, server_id, user_id, idempotency_key) VALUES ('tool_invoke', 'a', %s, 'k')"
    )
    for user_id in (None, uuid4(), uuid4()):
        owner.execute(query, (user_id,))
        with pytest.raises(psycopg.errors.UniqueViolation):
            owner.execute(query, (user_id,))


def test_the_two_ways_to_name_a_server_follow_each_other(owner: Connection) -> None:
    server = system_server(owner, "time")
    by_text = job(owner, server_id=str(server).upper())
    assert (by_text["server_id"], by_text["server_ref_id"], by_text["server_type"]) == (str(server), server, "system")
    by_id = owner.execute(
        "INSERT INTO job_results (job_type, server_ref_id) VALUES ('tool_invoke', %s) RETURNING server_id, server_type",
        (server,),
    ).fetchone()
    assert by_id == {"server_id": str(server), "server_type": "system"}
    assert job(owner, server_id="github")["server_ref_id"] is None


@pytest.mark.parametrize("name", ["a", "Time-2", "a_b", "x" * 32, "0"])
def test_a_good_name_is_taken(owner: Connection, name: str) -> None:
    system_server(owner, name)


@pytest.mark.parametrize("name", ["", "_a", "-a", "a_", "a__b", "a b", "a.b", "x" * 33, "ä", "a\n"])
def test_a_bad_name_is_refused(owner: Connection, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        system_server(owner, name)
    with pytest.raises(psycopg.errors.CheckViolation):
        user_server(owner, name)


def test_users_share_no_name_with_the_system_but_with_each_other(owner: Connection) -> None:
    system_server(owner, "time")
    user_server(owner, "git")
    user_server(owner, "git")
    for insert in (lambda: user_server(owner, "time"), lambda: system_server(owner, "git")):
        with pytest.raises(psycopg.errors.UniqueViolation) as raised:
            insert()
        assert raised.value.diag.constraint_name == "server_name_taken"


def test_two_at_the_same_time_cannot_take_one_name(owner: Connection, database: HubDatabase) -> None:
    with psycopg.connect(database.owner_url, row_factory=dict_row) as first:
        system_server(first, "time")
        owner.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            user_server(owner, "time")
    with pytest.raises(psycopg.errors.UniqueViolation):
        user_server(owner, "time")


def test_a_state_row_lives_and_dies_with_its_server(owner: Connection) -> None:
    server = user_server(owner, "git")
    owner.execute("UPDATE user_servers SET name = 'hg' WHERE id = %s", (server["id"],))
    state = owner.execute("SELECT server_type, server_ref_id, user_id, name, status FROM server_state").fetchall()
    assert state == [
        {
            "server_type": "user",
            "server_ref_id": server["id"],
            "user_id": server["user_id"],
            "name": "hg",
            "status": "unknown",
        }
    ]
    owner.execute(
        "INSERT INTO tool_cache (server_type, server_ref_id, user_id, namespaced_name) "
        "VALUES ('user', %s, %s, 'hg__log')",
        (server["id"], server["user_id"]),
    )
    owner.execute("DELETE FROM user_servers")
    assert owner.execute("SELECT FROM server_state").rowcount == 0
    assert owner.execute("SELECT FROM tool_cache").rowcount == 0


def test_a_server_without_a_name_gets_one(owner: Connection) -> None:
    server = user_server(owner, None)
    assert server["name"] == f"server-{str(server['id'])[:8]}"


def test_sealed_bytes_have_a_least_length(owner: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute(
            "INSERT INTO user_servers (user_id, config_encrypted) VALUES (gen_random_uuid(), %s)", (b"x" * 27,)
        )


def test_an_update_raises_the_revision_once(owner: Connection) -> None:
    server = user_server(owner, "git")
    for assignment in ("enabled = false", "enabled = true, revision = revision + 1"):
        owner.execute(f"UPDATE user_servers SET {assignment}".encode())
    assert owner.execute("SELECT revision FROM user_servers").fetchall() == [{"revision": server["revision"] + 2}]


def test_a_namespaced_name_is_unique_for_a_user(owner: Connection) -> None:
    query = (
        b"INSERT INTO tool_cache (server_type, server_ref_id, user_id, namespaced_name, tool_name, definition) "
        b"VALUES ('user', gen_random_uuid(), %s, 'a__b', 'b', '{}')"
    )
    user_id = uuid4()
    owner.execute(query, (user_id,))
    owner.execute(query, (uuid4(),))
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(query, (user_id,))
