"""What the database itself keeps true of jobs, servers and the catalog."""

import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixtures.postgres import HubDatabase

Connection = psycopg.Connection[dict[str, Any]]
INSERT = b"INSERT INTO job_results (job_type, server_id, status) VALUES ('tool_invoke', %s, %s) RETURNING *"
SEALED = b"x" * 40
CLAIM: dict[str, Any] = {"status": "running", "attempt": 1, "claim_id": uuid4(), "lease_expires_at": "2100-01-01"}
CLAIMING = "status = 'running', attempt = 1, claim_id = gen_random_uuid(), lease_expires_at = now()"
CALLS = ("tool_invoke", "resource_fetch", "prompt_execute")


def job(owner: Connection, status: str = "pending", server_id: str = "hub") -> dict[str, Any]:
    row = owner.execute(INSERT, (server_id, status)).fetchone()
    assert row is not None
    return row


def stored(owner: Connection, **columns: Any) -> dict[str, Any]:
    row = {"job_type": "tool_invoke", "server_id": "hub"} | columns
    places = ", ".join(f"%({name})s" for name in row)
    found = owner.execute(
        f"INSERT INTO job_results ({', '.join(row)}) VALUES ({places}) RETURNING *".encode(), row
    ).fetchone()
    assert found is not None
    return found


def refused(owner: Connection, job_id: UUID, assignments: str) -> str:
    """What the database says to a change that it does not make."""
    before = owner.execute("SELECT * FROM job_results").fetchall()
    with pytest.raises(psycopg.DatabaseError) as raised:
        update(owner, job_id, assignments)
    assert raised.value.sqlstate == "NX002"
    assert owner.execute("SELECT * FROM job_results").fetchall() == before
    said = str(raised.value.diag.message_primary)
    assert said.startswith(f"Job {job_id}: ")
    return said.removeprefix(f"Job {job_id}: ")


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
    row = stored(owner, **CLAIM) if before == "running" else job(owner)
    row = update(owner, row["id"], f"status = '{ended}'")
    assert row["completed_at"] is not None
    assert (row["claim_id"], row["lease_expires_at"]) == (None, None)


def test_a_claim_ends_with_the_way_back_to_pending(owner: Connection) -> None:
    row = update(owner, job(owner)["id"], CLAIMING)
    assert row["claim_id"] is not None
    assert row["started_at"] is not None
    assert update(owner, row["id"], "status = 'pending'")["claim_id"] is None


def test_each_change_counts_the_version_up_and_is_told(owner: Connection, database: HubDatabase) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_jobs")
        row = job(owner)
        update(owner, row["id"], CLAIMING)
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
    row = stored(owner, **CLAIM)
    with psycopg.connect(database.app_url, autocommit=True) as listener:
        listener.execute("LISTEN nexus_jobs")
        beaten = update(owner, row["id"], f"{beat} = now() + interval '1 minute'")
        ended = update(owner, row["id"], "status = 'completed'")
        (told,) = [json.loads(notice.payload) for notice in listener.notifies(timeout=10, stop_after=1)]
    assert (beaten["version"], ended["version"], told["version"]) == (1, 2, 2)


@pytest.mark.parametrize("assignment", ["result = '[1]'", "params = '{\"a\": 1}'", "error_code = 'x'"])
def test_each_change_that_somebody_may_see_is_a_new_version(owner: Connection, assignment: str) -> None:
    row = stored(owner, job_type="cache_refresh", status="running")
    assert update(owner, row["id"], f"heartbeat_at = now(), {assignment}")["version"] == 2
    assert update(owner, row["id"], f"heartbeat_at = now(), {assignment}")["version"] == 2
    assert update(owner, row["id"], f"status = 'pending', {assignment}")["version"] == 3


def test_a_result_of_any_size_is_told_of(owner: Connection) -> None:
    row = job(owner, "running")
    owner.execute(
        "UPDATE job_results SET status = 'completed', result = to_jsonb(repeat('x', 100000)) WHERE id = %s",
        (row["id"],),
    )
    assert owner.execute("SELECT FROM job_results WHERE status = 'completed'").rowcount == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "paused"},
        {"job_type": "other"},
        {"params": "[]"},
        {"completed_at": "2100-01-01"},
        {"attempt": 4},
        {"attempt": -1},
        {"max_attempts": 21},
        {"timeout_seconds": 0},
        {"retry": "never"},
        {"server_type": "other"},
        {"status": "running", "claim_id": uuid4()},
        {"idempotency_key": "x" * 201},
    ],
)
def test_a_bad_state_is_refused(owner: Connection, columns: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        stored(owner, **columns)
    assert owner.execute("SELECT FROM job_results").rowcount == 0


@pytest.mark.parametrize("assignments", ["status = 'paused'", "completed_at = now()"])
def test_a_change_to_a_bad_state_is_refused(owner: Connection, assignments: str) -> None:
    row = job(owner)
    with pytest.raises(psycopg.errors.CheckViolation):
        update(owner, row["id"], assignments)
    assert owner.execute("SELECT * FROM job_results").fetchall() == [row]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_job_that_nobody_started_can_end(owner: Connection, status: str) -> None:
    assert update(owner, job(owner)["id"], f"status = '{status}'")["status"] == status


def test_the_result_of_an_attempt_that_was_put_back_comes_too_late(owner: Connection) -> None:
    row = stored(owner, **CLAIM)
    update(owner, row["id"], "status = 'pending'")
    assert refused(owner, row["id"], "status = 'completed', result = '1'") == (
        "pending -> completed is refused: it was put back after it had started, "
        "and can go to running, failed or cancelled."
    )
    assert update(owner, row["id"], "status = 'failed'")["status"] == "failed"


def test_a_job_without_an_attempt_left_does_not_wait_for_one(owner: Connection) -> None:
    row = stored(owner, **CLAIM | {"attempt": 3})
    assert refused(owner, row["id"], "status = 'pending'") == (
        "running -> pending is refused: no attempt is left, and it can go to completed, failed or cancelled."
    )
    assert update(owner, row["id"], "status = 'pending', attempt = 2")["attempt"] == 2


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize(
    "assignments",
    ["claim_id = gen_random_uuid(), lease_expires_at = now()", "claim_id = NULL, lease_expires_at = NULL"],
)
def test_a_claim_is_neither_changed_nor_taken_nor_dropped_while_a_job_runs(
    owner: Connection, assignments: str, claimed: bool
) -> None:
    row = stored(owner, **CLAIM) if claimed else job(owner, "running")
    if not claimed and "NULL" in assignments:
        assert update(owner, row["id"], assignments) == row
        return
    assert refused(owner, row["id"], assignments) == (
        "running -> running is refused: a claim is taken with pending -> running only, "
        "and kept until the job leaves running."
    )


LOST_RUN = "flow_run_id = NULL, dispatched_at = NULL"
STEPS: dict[str, tuple[dict[str, Any], str, set[int]]] = {
    "a claim": ({}, "status = 'running', claim_id = gen_random_uuid(), lease_expires_at = now()", {1}),
    "a start without a claim": ({}, "status = 'running'", {0}),
    "a mirror's start": ({"job_type": "cache_refresh"}, "status = 'running'", {0, 1}),
    "a wait": ({}, "status = 'pending'", {0}),
    "a wait that keeps its flow run": ({"flow_run_id": uuid4()}, "status = 'pending'", {0}),
    "a lost flow run": ({"flow_run_id": uuid4()}, f"status = 'pending', {LOST_RUN}", {0, 1}),
    "a last lost flow run": ({"flow_run_id": uuid4()}, "status = 'failed'", {0, 1}),
    "a failure without a flow run": ({}, "status = 'failed'", {0}),
    "a cancellation": ({"flow_run_id": uuid4()}, "status = 'cancelled'", {0}),
    "progress under a claim": (CLAIM, "status = 'running'", {0}),
    "a claim given back": (CLAIM, "status = 'pending'", {-1, 0}),
    "a start without a claim taken back": ({"status": "running"}, "status = 'pending'", {0}),
    "a result": (CLAIM, "status = 'completed'", {0}),
    "a failure": (CLAIM, "status = 'failed'", {0}),
}


@pytest.mark.parametrize("what", STEPS)
def test_the_attempt_moves_only_with_a_claim_a_postponement_or_a_lost_run(owner: Connection, what: str) -> None:
    columns, assignments, allowed = STEPS[what]
    for step in range(-3, 4):
        row = stored(owner, max_attempts=9, **columns | {"attempt": 4})
        if step in allowed:
            assert update(owner, row["id"], f"{assignments}, attempt = attempt + {step}")["attempt"] == 4 + step
        else:
            said = refused(owner, row["id"], f"{assignments}, attempt = attempt + {step}")
            assert f"attempt would go from 4 to {4 + step}, and can change by {min(allowed)}" in said


ANOTHER = {
    "id": "gen_random_uuid()",
    "user_id": "gen_random_uuid()",
    "job_type": "'prompt_execute'",
    "server_id": "'github'",
    "server_ref_id": "gen_random_uuid()",
    "server_type": "'user'",
    "tool_name": "'other'",
    "params": "'{\"a\": 1.00}'",
    "params_escaped": "true",
    "created_at": "now() + interval '1 s'",
    "idempotency_key": "NULL",
    "request_digest": "'other'",
    "retry": "'always'",
    "timeout_seconds": "NULL",
    "max_attempts": "4",
    "bundle_entry_id": "gen_random_uuid()",
    "called_as": "'travel__other'",
}


@pytest.mark.parametrize("state", [{}, CLAIM], ids=["pending", "running"])
def test_what_was_asked_never_changes(owner: Connection, state: dict[str, Any]) -> None:
    asked = {"server_ref_id": uuid4(), "server_type": "system", "tool_name": "t", "params": '{"a": 1.0}'}
    kept = {"idempotency_key": "k", "request_digest": "d", "timeout_seconds": 5}
    row = stored(owner, **asked | kept | state | {"server_id": str(asked["server_ref_id"])})
    for column, other in ANOTHER.items():
        said = refused(owner, row["id"], f"{column} = {other}, progress = '1'")
        assert column in said.partition(" is refused: ")[0]
        assert said.endswith("what was asked never changes; store another job.")


@pytest.mark.parametrize("job_type", CALLS)
def test_a_job_may_be_written_whole_as_it_is(owner: Connection, job_type: str) -> None:
    row = stored(owner, job_type=job_type, params='{"a": 1}', user_id=uuid4(), server_id=str(uuid4()))
    assert update(owner, row["id"], ", ".join(f"{column} = {column}" for column in ANOTHER)) == row


def test_no_mirrored_row_becomes_a_job_and_none_a_mirrored_row(owner: Connection) -> None:
    mirrored, called = stored(owner, job_type="cache_refresh"), job(owner)
    assert refused(owner, mirrored["id"], "job_type = 'tool_invoke'").startswith("a change of job_type is refused")
    assert refused(owner, called["id"], "job_type = 'cache_refresh'").startswith("a change of job_type is refused")
    assert update(owner, mirrored["id"], "params = '{\"days\": 7}'")["params"] == {"days": 7}


def test_what_is_derived_of_a_server_may_come_later(owner: Connection) -> None:
    server = uuid4()
    owner.execute("ALTER TABLE job_results DISABLE TRIGGER before_write")
    row = job(owner, server_id=str(server).upper())
    owner.execute("ALTER TABLE job_results ENABLE TRIGGER before_write")
    assert row["server_ref_id"] is None
    row = update(owner, row["id"], f"server_id = '{server}', server_ref_id = '{server}', server_type = 'system'")
    assert (row["server_id"], row["server_ref_id"], row["server_type"]) == (str(server), server, "system")
    assert "server_type" in refused(owner, row["id"], "server_type = 'user'")


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


def test_a_user_takes_no_name_of_the_system_and_keeps_none_from_it(owner: Connection) -> None:
    system_server(owner, "time")
    user_server(owner, "git")
    user_server(owner, "git")
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        user_server(owner, "time")
    assert raised.value.diag.constraint_name == "server_name_taken"
    system_server(owner, "git")
    assert owner.execute("SELECT FROM server_state WHERE name = 'git'").rowcount == 3


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


def direct(owner: Connection, **columns: Any) -> dict[str, Any]:
    """A direct call that is under way."""
    return stored(owner, lane="direct", **CLAIM | {"claim_id": uuid4()} | columns)


def test_what_is_put_back_goes_on_in_the_durable_lane(owner: Connection) -> None:
    row = direct(owner)
    assert row["lane"] == "direct"
    put_back = update(owner, row["id"], "status = 'pending'")
    assert (put_back["lane"], put_back["claim_id"]) == ("durable", None)
    again = update(owner, row["id"], CLAIMING.replace("attempt = 1", "attempt = 2"))
    assert again["lane"] == "durable"


def test_nothing_is_pending_in_the_direct_lane(owner: Connection) -> None:
    assert stored(owner, lane="direct")["lane"] == "durable"


def test_a_direct_call_under_way_has_a_claim(owner: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="job_results_direct_is_leased"):
        stored(owner, lane="direct", status="running")


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_direct_call_may_begin_ended_and_keeps_its_lane(owner: Connection, status: str) -> None:
    assert stored(owner, lane="direct", status=status)["lane"] == "direct"
    assert update(owner, direct(owner)["id"], f"status = '{status}'")["lane"] == "direct"


def test_there_are_two_lanes(owner: Connection) -> None:
    assert job(owner)["lane"] == "durable"
    with pytest.raises(psycopg.errors.CheckViolation, match="job_results_known_lane"):
        stored(owner, lane="fast", status="completed")


def test_a_change_of_a_policy_is_told_of(owner: Connection, database: HubDatabase) -> None:
    server = system_server(owner, "srv")
    with psycopg.connect(database.owner_url, autocommit=True) as listening:
        listening.execute("LISTEN nexus_catalog")
        for statement in (
            "INSERT INTO call_policies (server_type, server_ref_id, durable) VALUES ('system', %s, 'always')",
            "UPDATE call_policies SET durable = 'never' WHERE server_ref_id = %s",
            "DELETE FROM call_policies WHERE server_ref_id = %s",
        ):
            owner.execute(statement, (server,))
        told = [json.loads(notice.payload) for notice in listening.notifies(timeout=5, stop_after=3)]
    assert [one["server_ref_id"] for one in told] == [str(server)] * 3
    assert {(one["server_type"], *one["kinds"]) for one in told} == {("system", "server")}
