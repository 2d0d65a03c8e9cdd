"""The internal endpoints by ASGI on a real database; Prefect is played, since it is not what is asked here."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from nexus_hub.api.app import create_app
from nexus_hub.runtime import Runtime
from nexus_hub.settings import Settings
from nexus_hub.vault.keyring import Keyring
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.served import SERVICE_KEY, in_process

PATHS = ("/internal/job-executor", "/internal/vault-rotate", "/internal/cleanup-jobs")
EDGE = "/functions/v1/nexus-hub"
FIRST, SECOND = VaultKey.generate(), VaultKey.generate()


class Worker:
    """A worker that ends the flows which look after the hub at once, in the way it is told."""

    def __init__(self) -> None:
        self.result: dict[str, Any] | None = None
        self.code: str | None = None
        self.runtime: Runtime | None = None

    async def take(self, flow: str, _run: UUID, parameters: dict[str, Any]) -> None:
        assert self.runtime is not None
        if flow == "invoke-tool":
            return
        if self.result is not None:
            await self.runtime.mirror.complete(UUID(parameters["job_id"]), self.result, self.code, self.code)
        elif self.code is not None:
            await self.runtime.mirror.fail(UUID(parameters["job_id"]), self.code, "It failed.")


def asked(prefect: FakePrefect) -> list[tuple[str, dict[str, Any]]]:
    """The runs that Prefect was asked for: their flows and parameters."""
    return [(flow, parameters) for flow, _, parameters in prefect.made]


@pytest.fixture
def worker(prefect: FakePrefect) -> Worker:
    worker = Worker()
    prefect.take = worker.take
    return worker


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    (tmp_path / "keyring.json").write_text(Keyring(FIRST, (SECOND,)).render())
    monkeypatch.setattr("nexus_hub.runtime.PrefectClient", lambda *_: nullcontext(prefect))
    return create_app(
        Settings(
            home=tmp_path,
            database_url=SecretStr(database.app_url),
            service_key=SecretStr(SERVICE_KEY),
            prefect_api_url="http://127.0.0.1:1/api",
        )
    )


@pytest.fixture
async def api(app: FastAPI, worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(app) as client:
        worker.runtime = app.state.runtime
        yield client


async def stored(app: FastAPI, **columns: Any) -> UUID:
    """A job that plain SQL has stored."""
    import psycopg

    row = {"job_type": "tool_invoke", "server_id": str(uuid4()), "tool_name": "t"} | columns
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    async with await psycopg.AsyncConnection.connect(app.state.runtime.database.url, autocommit=True) as connection:
        await connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        statement = f"INSERT INTO job_results ({names}) VALUES ({places}) RETURNING id"
        found = await (await connection.execute(statement.encode(), row)).fetchone()
    assert found is not None
    job_id: UUID = found[0]
    return job_id


@pytest.mark.parametrize(
    "value", ["", "Bearer undefined", "Bearer null", f"Bearer {SERVICE_KEY}x", f"Basic {SERVICE_KEY}", "Bearer "]
)
async def test_every_internal_endpoint_is_shut_without_the_service_key(api: httpx.AsyncClient, value: str) -> None:
    for path in (
        *PATHS,
        *(EDGE + path for path in PATHS),
        EDGE,
        "/internal/vault-restore",
        "/internal/refresh-catalog",
    ):
        answer = await api.post(path, json={"action": "rotate_vault_key"}, headers={"Authorization": value})
        assert answer.status_code == 401, path
        assert answer.json()["error"]


async def test_a_users_token_opens_none_of_them(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/users", json={"name": "ann"})).status_code == 201
    token = (await api.post("/v1/users/ann/tokens")).json()["token"]
    for path in (*PATHS, EDGE + PATHS[0]):
        answer = await api.post(path, json={"job_id": str(uuid4())}, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403, path


@pytest.mark.parametrize("base", ["", EDGE])
async def test_the_executor_starts_a_stored_job_once_and_is_harmless_twice(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect, base: str
) -> None:
    job_id = await stored(app)
    for _ in range(2):
        answer = await api.post(f"{base}/internal/job-executor", json={"job_id": str(job_id)})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert asked(prefect) == [("invoke-tool", {"job_id": str(job_id), "attempt": 1})]


async def test_the_executor_believes_nothing_else_in_the_body(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect
) -> None:
    owner = uuid4()
    job_id = await stored(app, user_id=owner, params='{"a": 1}')
    forged = {
        "job_id": str(job_id),
        "job_type": "prompt_execute",
        "server_id": str(uuid4()),
        "tool_name": "rm",
        "params": {"a": 2},
        "user_id": str(uuid4()),
    }
    assert (await api.post("/internal/job-executor", json=forged)).json() == {"success": True}
    row = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert (row["user_id"], row["params"], row["tool_name"], row["job_type"]) == (
        str(owner),
        {"a": 1},
        "t",
        "tool_invoke",
    )
    assert asked(prefect) == [("invoke-tool", {"job_id": str(job_id), "attempt": 1})]


async def test_the_executor_leaves_an_ended_job_and_one_that_waits_for_prefect(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect
) -> None:
    ended = await stored(app, status="completed")
    assert (await api.post("/internal/job-executor", json={"job_id": str(ended)})).json() == {"success": True}
    prefect.away = True
    waiting = await stored(app)
    assert (await api.post("/internal/job-executor", json={"job_id": str(waiting)})).json() == {"success": True}
    assert asked(prefect) == []
    assert (await api.get(f"/v1/jobs/{waiting}")).json()["status"] == "pending"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"job_id": "x"}, 400),
        ({"job_id": str(UUID(int=7))}, 404),
        ({}, 422),
        ({"job_id": 7}, 422),
        ([], 422),
        (None, 422),
    ],
)
async def test_the_executor_refuses_what_names_no_job(api: httpx.AsyncClient, body: Any, status: int) -> None:
    answer = await api.post("/internal/job-executor", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize("path", [*PATHS[1:2], EDGE + PATHS[1], EDGE])
async def test_a_rotation_is_started_with_ids_and_answered_with_its_counts(
    api: httpx.AsyncClient, prefect: FakePrefect, worker: Worker, path: str
) -> None:
    worker.result = {"updated": 3, "errors": ["Server user/1: can't be opened"], "rotation_id": "x"}
    worker.code = "rotation-incomplete"
    action = {"action": "rotate_vault_key"} if path == EDGE else {}
    body = {"old_key_id": f" {FIRST.id.upper()}", "new_key_id": SECOND.id} | action
    answer = await api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"updated": 3, "errors": ["Server user/1: can't be opened"]}
    ((flow, parameters),) = asked(prefect)
    assert flow == "rotate-vault-key"
    assert {name: parameters[name] for name in ("old_key_id", "new_key_id")} == {
        "old_key_id": FIRST.id,
        "new_key_id": SECOND.id,
    }
    row = (await api.get(f"/v1/jobs/{parameters['job_id']}")).json()
    assert (row["job_type"], row["status"], row["error_code"]) == ("key_rotation", "failed", "rotation-incomplete")


@pytest.mark.parametrize(
    "body",
    [
        {"old_key_hex": FIRST.reveal(), "new_key_hex": SECOND.reveal()},
        {"old_key_id": FIRST.reveal(), "new_key_id": SECOND.id},
        {"new_key_id": SECOND.reveal()},
        {"new_key_hex": "short"},
        {"new_key_id": SECOND.id, "note": f"the key is {SECOND.reveal()}"},
        {"new_key_id": SECOND.id, "note": [{"deep": SECOND.reveal()}]},
    ],
)
async def test_a_rotation_with_keys_in_the_body_is_refused_with_what_to_send(
    api: httpx.AsyncClient, prefect: FakePrefect, body: dict[str, Any]
) -> None:
    for path, sent in ((PATHS[1], body), (EDGE + PATHS[1], body), (EDGE, body | {"action": "rotate_vault_key"})):
        answer = await api.post(path, json=sent)
        assert answer.status_code == 400, answer.text
        assert "new_key_id" in answer.json()["error"]
        assert FIRST.reveal() not in answer.text
        assert SECOND.reveal() not in answer.text
    assert asked(prefect) == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"new_key_id": "0a1b2c3d"}, 404, "not-found"),
        ({"old_key_id": SECOND.id, "new_key_id": SECOND.id}, 400, "invalid-request"),
        ({"new_key_id": "'; DROP TABLE users; --"}, 400, "invalid-request"),
        ({"new_key": SECOND.id}, 400, "invalid-request"),
        ({"new_key_id": 7}, 422, "invalid-request"),
    ],
)
async def test_a_rotation_to_no_known_key_is_refused(
    api: httpx.AsyncClient, prefect: FakePrefect, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await api.post("/internal/vault-rotate", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert asked(prefect) == []


async def test_a_rotation_without_a_second_key_names_what_is_missing(
    api: httpx.AsyncClient, tmp_path: Path, prefect: FakePrefect
) -> None:
    (tmp_path / "keyring.json").write_text(Keyring(FIRST).render())
    answer = await api.post("/internal/vault-rotate")
    assert (answer.status_code, answer.json()["code"]) == (409, "no-second-key"), answer.text
    assert "keyring.json" in answer.json()["error"]
    assert asked(prefect) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("at-work", "Another run of rotate-vault-key is at work"),
        ("rotation-running", "A rotation of the vault's keys is under way"),
    ],
)
async def test_a_second_rotation_at_the_same_time_is_a_409(
    api: httpx.AsyncClient, worker: Worker, code: str, said: str
) -> None:
    worker.code = code
    answer = await api.post("/internal/vault-rotate", json={"new_key_id": SECOND.id})
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert said in answer.json()["error"]


async def test_a_rotation_can_be_tried_without_changing_anything(api: httpx.AsyncClient, prefect: FakePrefect) -> None:
    answer = await api.post("/internal/vault-rotate", json={"dry_run": True})
    assert (answer.status_code, answer.json()) == (200, {"would_update": 0, "errors": []})
    assert asked(prefect) == []


async def test_a_run_that_takes_long_is_answered_with_where_to_look(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect
) -> None:
    app.state.runtime.maintenance.patience = 0.1
    answer = await api.post("/internal/cleanup-jobs")
    assert answer.status_code == 202, answer.text
    job = (await api.get(answer.headers["location"])).json()
    assert answer.json() == {"job_id": job["id"], "flow_run_id": job["flow_run_id"]}
    assert job["status"] == "pending"


async def test_a_run_that_fails_is_a_problem_with_its_reason(
    api: httpx.AsyncClient, prefect: FakePrefect, worker: Worker
) -> None:
    worker.code = "database-unavailable"
    answer = await api.post("/internal/cleanup-jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "maintenance-failed")
    prefect.away = True
    answer = await api.post("/internal/cleanup-jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "prefect-unavailable")


@pytest.mark.parametrize("base", ["", EDGE])
@pytest.mark.parametrize(
    ("body", "days"),
    [
        (None, (7, 1)),
        ({}, (7, 1)),
        ({"days_completed": 0, "days_orphaned": 0}, (0, 0)),
        ({"days_completed": 3650}, (3650, 1)),
    ],
)
async def test_the_clean_up_takes_seven_and_one_unless_told_otherwise(
    api: httpx.AsyncClient, prefect: FakePrefect, worker: Worker, base: str, body: Any, days: tuple[int, int]
) -> None:
    counts = {"deleted_completed": 2, "deleted_orphaned": 1, "total_deleted": 3}
    worker.result = counts | {"orphans_failed": 4}
    answer = (
        await api.post(f"{base}/internal/cleanup-jobs", json=body)
        if body is not None
        else await api.post(f"{base}/internal/cleanup-jobs")
    )
    assert (answer.status_code, answer.json()) == (200, counts), answer.text
    ((flow, parameters),) = asked(prefect)
    assert (flow, parameters["days_completed"], parameters["days_orphaned"]) == ("cleanup-jobs", *days)


@pytest.mark.parametrize("value", [-1, 3651, 10**30, "7", "many", 1.5, True, None, [], {}])
@pytest.mark.parametrize("name", ["days_completed", "days_orphaned"])
async def test_days_outside_the_range_are_refused_by_name(
    api: httpx.AsyncClient, prefect: FakePrefect, name: str, value: Any
) -> None:
    answer = await api.post("/internal/cleanup-jobs", json={name: value})
    assert answer.status_code == 400, answer.text
    assert name in answer.json()["error"]
    assert "3650" in answer.json()["error"]
    assert asked(prefect) == []


async def test_the_clean_up_can_be_tried_without_deleting(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect
) -> None:
    await stored(app, status="completed", completed_at="2020-01-01")
    answer = await api.post("/internal/cleanup-jobs", json={"dry_run": True})
    assert answer.json() == {"deleted_completed": 1, "deleted_orphaned": 0, "total_deleted": 1}
    assert asked(prefect) == []
    assert len((await api.get("/v1/jobs")).json()["items"]) == 1


@pytest.mark.parametrize("value", [0, 1, 0.0, "false", "true", "no", "off", "0", "", None, [], {}, [True]])
@pytest.mark.parametrize("path", [PATHS[1], PATHS[2], EDGE + PATHS[1], EDGE + PATHS[2], EDGE])
async def test_a_dry_run_is_true_or_false_and_nothing_that_looks_like_it(
    api: httpx.AsyncClient, prefect: FakePrefect, path: str, value: Any
) -> None:
    answer = await api.post(path, json={"dry_run": value} | ({"action": "rotate_vault_key"} if path == EDGE else {}))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), answer.text
    assert "body.dry_run" in answer.json()["error"]
    assert asked(prefect) == []


@pytest.mark.parametrize(
    ("query", "body", "kind", "named"),
    [
        ("?dry_run=true", b"", None, "query.dry_run"),
        ("?dry_run=true", b"{}", "application/json", "query.dry_run"),
        ("?days_completed=3000", b"", None, "query.days_completed"),
        ("", b'{"dryRun": true}', "application/json", "body.dryRun"),
        ("", b'{"dry-run": true}', "application/json", "body.dry-run"),
        ("", b'{"days_complete": 3000}', "application/json", "body.days_complete"),
        ("", b"dry_run=true", "application/x-www-form-urlencoded", "body"),
        ("", b'{"dry_run": true}', "text/plain", "body"),
        ("", b'{"dry_run": true}', None, "body"),
        ("", b'[{"dry_run": true}]', "application/json", "body"),
        ("", b'"dry_run"', "application/json", "body"),
        ("", b"true", "application/json", "body"),
    ],
)
async def test_a_clean_up_that_was_asked_for_in_another_way_deletes_nothing(
    api: httpx.AsyncClient, prefect: FakePrefect, query: str, body: bytes, kind: str | None, named: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = await api.post(f"/internal/cleanup-jobs{query}", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["error"]
    assert asked(prefect) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATHS[0], {"job_id": 7}),
        (PATHS[0], {"job_id": ["00000000-0000-0000-0000-000000000007"]}),
        (PATHS[1], {"new_key_id": 12345678}),
        (PATHS[1], {"old_key_id": True}),
        ("/internal/vault-restore", {"key_id": 12345678}),
        ("/internal/refresh-catalog", {"server": 7}),
        ("/internal/refresh-catalog", {"server": False}),
        ("/internal/refresh-catalog", {"servers": "a"}),
    ],
)
async def test_a_member_of_another_type_or_name_starts_nothing(
    api: httpx.AsyncClient, prefect: FakePrefect, path: str, body: dict[str, Any]
) -> None:
    answer = await api.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert f"body.{next(iter(body))}" in answer.json()["error"]
    assert asked(prefect) == []


async def test_an_unknown_member_of_a_rotation_is_named(api: httpx.AsyncClient) -> None:
    assert "has new_key;" in (await api.post(PATHS[1], json={"new_key": SECOND.id})).json()["error"]


@pytest.mark.parametrize("server", ["nothing", "' OR 1=1 --", "*", "\x1a", str(UUID(int=7))])
async def test_a_refresh_of_an_unknown_server_is_a_404(
    api: httpx.AsyncClient, prefect: FakePrefect, server: str
) -> None:
    answer = await api.post("/internal/refresh-catalog", json={"server": server})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), answer.text
    assert asked(prefect) == []


async def test_a_refresh_of_what_is_due_answers_with_the_servers(api: httpx.AsyncClient, worker: Worker) -> None:
    worker.result = {"servers": [{"server": "a", "error_code": None}]}
    answer = await api.post("/internal/refresh-catalog")
    assert answer.json() == {"servers": [{"server": "a", "error_code": None}]}
    worker.result = {}
    assert (await api.post("/internal/refresh-catalog")).json() == {"servers": []}


async def test_a_rotation_is_started_at_once_and_followed(
    api: httpx.AsyncClient, app: FastAPI, prefect: FakePrefect, worker: Worker
) -> None:
    assert (await api.get("/v1/vault/rotation")).json() == {
        "state": "none",
        "done": 0,
        "total": None,
        "started_at": None,
        "ended_at": None,
        "errors": [],
    }
    answer = await api.post("/v1/vault/rotate", json={"new_key_id": SECOND.id})
    assert (answer.status_code, answer.json()["state"]) == (202, "running"), answer.text
    ((flow, parameters),) = asked(prefect)
    assert (flow, parameters["new_key_id"]) == ("rotate-vault-key", SECOND.id)
    again = await api.post("/v1/vault/rotate", json={"new_key_id": SECOND.id})
    assert (again.status_code, again.json()["code"]) == (409, "rotation-running")
    mirror, job_id = app.state.runtime.mirror, UUID(parameters["job_id"])
    await mirror.begin("key_rotation", uuid4(), {}, job_id=job_id)
    await mirror.note(job_id, {"done": 3, "total": 8})
    progress = (await api.get("/v1/vault/rotation")).json()
    assert (progress["state"], progress["done"], progress["total"], progress["ended_at"]) == ("running", 3, 8, None)
    await mirror.complete(job_id, {"updated": 8, "errors": []})
    progress = (await api.get("/v1/vault/rotation")).json()
    assert (progress["state"], progress["done"], progress["total"], progress["errors"]) == ("done", 8, 8, [])
    assert progress["started_at"] <= progress["ended_at"]


async def test_a_rotation_that_failed_says_why(api: httpx.AsyncClient, prefect: FakePrefect, worker: Worker) -> None:
    worker.result, worker.code = {"updated": 1, "errors": ["Server user/1: can't be opened"]}, "rotation-incomplete"
    await api.post("/v1/vault/rotate")
    progress = (await api.get("/v1/vault/rotation")).json()
    assert (progress["state"], progress["errors"]) == ("failed", ["Server user/1: can't be opened"])
    worker.result = None
    await api.post("/v1/vault/rotate")
    assert (await api.get("/v1/vault/rotation")).json()["errors"] == ["It failed."]
    prefect.away = True
    answer = await api.post("/v1/vault/rotate")
    assert answer.status_code == 503
    progress = (await api.get("/v1/vault/rotation")).json()
    assert (progress["state"], len(progress["errors"])) == ("failed", 1)


async def test_of_a_rotation_whose_row_is_gone_the_vault_still_knows(api: httpx.AsyncClient, app: FastAPI) -> None:
    rotation = app.state.runtime.rotation
    report = await rotation.run(await rotation.plan(), on_progress=_ignore)
    progress = (await api.get("/v1/vault/rotation")).json()
    assert (progress["state"], progress["done"]) == ("done", report.updated)
    keys = {key["key_id"]: key for key in (await api.get("/v1/vault")).json()["keys"]}
    assert [keys[SECOND.id][name] for name in ("is_primary", "sealed")] == [True, 0]
    assert keys[SECOND.id]["first_used_at"] <= keys[SECOND.id]["rotated_at"]
    assert keys[FIRST.id]["first_used_at"] is None


async def _ignore(_progress: dict[str, Any]) -> None:
    pass


async def test_rotations_are_the_operators(api: httpx.AsyncClient, app: FastAPI) -> None:
    await api.post("/v1/users", json={"name": "ann"})
    token = (await api.post("/v1/users/ann/tokens")).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.post("/v1/vault/rotate", headers=headers)).status_code == 403
    assert (await api.get("/v1/vault/rotation", headers=headers)).status_code == 403
    keyed = await api.post("/v1/vault/rotate", json={"new_key_hex": SECOND.reveal()})
    assert (keyed.status_code, SECOND.reveal() in keyed.text) == (400, False)
