"""Defects 11 to 17: rights, credentials and what comes from outside."""

import hmac
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from nexus_hub.api.app import create_app
from nexus_hub.catalog import read
from nexus_hub.catalog.store import store as store_catalog
from nexus_hub.errors import InvalidRequest, NotConfigured, NotFound
from nexus_hub.jobs import lists, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.settings import Settings
from nexus_hub.upstream.snapshot import Snapshot
from nexus_hub.vault.keys import VaultKey
from tests.defects import seed_code
from tests.defects.replay import Connection, contents, count, one
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase, url_as
from tests.fixtures.served import in_process, settings_of

SERVICE_KEY = "c4n4ry-the-service-key"
ALICE, BOB = uuid4(), uuid4()
Connect = Callable[[HubDatabase], Connection]


@pytest.fixture
def unprivileged(stranger: str) -> Iterator[Connect]:
    """Connects a login role that nothing was granted to."""
    with ExitStack() as stack:

        def connect(database: HubDatabase) -> Connection:
            url = url_as(database.app_url, user=stranger)
            return stack.enter_context(psycopg.connect(url, autocommit=True, row_factory=dict_row))

        yield connect


@pytest.fixture
def app(database: HubDatabase, tmp_path: Path) -> FastAPI:
    """The API, with no Prefect there."""
    return create_app(settings_of(database, tmp_path, service_key=SecretStr(SERVICE_KEY)))


@pytest_asyncio.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a credential."""
    async with in_process(app, token="") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def user(api: httpx.AsyncClient, name: str) -> dict[str, str]:
    """A new user's headers."""
    operator = bearer(SERVICE_KEY)
    assert (await api.post("/v1/users", json={"name": name}, headers=operator)).status_code == 201
    return bearer((await api.post(f"/v1/users/{name}/tokens", headers=operator)).json()["token"])


async def offer(library: Library, ref: ServerRef, name: str, owner: UUID | None, *tools: str) -> None:
    """Store what a server offers, as if it had been read."""
    seen = Snapshot("2026-07-28", None, None, {}, tools=[{"name": tool, "inputSchema": {}} for tool in tools])
    async with library.database.transaction() as transaction:
        await store_catalog(transaction, ref, name, owner, seen)


TRAP = """
CREATE TEMP TABLE job_results (status text, created_at timestamptz, completed_at timestamptz, error_code text);
INSERT INTO job_results VALUES ('completed', '2020-01-01', '2020-01-01');
CREATE FUNCTION pg_temp.rise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', session_user); RETURN OLD; END $$;
CREATE TRIGGER rise BEFORE DELETE ON job_results FOR EACH ROW EXECUTE FUNCTION pg_temp.rise();
"""
"""A temporary table is searched before all others where the search path is not pinned."""
CALLS = {
    "cleanup_old_job_results()": "SELECT cleanup_old_job_results()",
    "cleanup_job_results_manual(integer, integer)": "SELECT * FROM cleanup_job_results_manual(1, 1)",
}


def trapped(unprivileged: Connect, database: HubDatabase) -> Connection:
    """The stranger, with a table of its own in the place of job_results."""
    stranger = unprivileged(database)
    stranger.execute(TRAP.encode())
    return stranger


def test_defect_11_no_function_lets_its_caller_rise(
    unprivileged: Connect, stranger: str, seed_database: HubDatabase, database: HubDatabase
) -> None:
    rose = "SELECT rolsuper AS rose FROM pg_roles WHERE rolname = session_user"
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        for call in CALLS.values():
            victim = trapped(unprivileged, seed_database)
            victim.execute(call.encode())
            assert one(victim, rose) == {"rose": True}, "the seed's function made a superuser"
            admin.execute(f"ALTER ROLE {stranger} NOSUPERUSER".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for function"):
                trapped(unprivileged, database).execute(call.encode())
        # Also where somebody was careless: the functions are a superuser's, and all may call them.
        for function in CALLS:
            admin.execute(f"ALTER FUNCTION {function} OWNER TO CURRENT_USER".encode())
            admin.execute(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC".encode())
        for function, call in CALLS.items():
            ours = trapped(unprivileged, database)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for"):
                ours.execute(call.encode())
            admin.execute(f"ALTER FUNCTION {function} SECURITY DEFINER".encode())
        for call in CALLS.values():
            ours = trapped(unprivileged, database)
            ours.execute(call.encode())
            assert one(ours, rose) == {"rose": False}
            assert count(ours, "SELECT FROM pg_temp.job_results") == 1, "the trap was not touched"


def test_defect_12_a_stranger_deletes_no_jobs(
    unprivileged: Connect, seed_database: HubDatabase, database: HubDatabase, seed: Connection, ours: Connection
) -> None:
    running = "INSERT INTO job_results (job_type, server_id, status) VALUES ('tool_invoke', 'github', 'running')"
    for connection in (seed, ours):
        connection.execute(running.encode())
    call = "SELECT * FROM cleanup_job_results_manual(-1, -1)"
    unprivileged(seed_database).execute(call.encode())
    assert count(seed, "SELECT FROM job_results") == 0, "in the seed a stranger deletes running jobs"

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        unprivileged(database).execute(call.encode())
    for days in ("-1, -1", "-1, 1", "1, -1", "3651, 1", "NULL, 1"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            ours.execute(f"SELECT * FROM cleanup_job_results_manual({days})".encode())
    ours.execute(b"SELECT * FROM cleanup_job_results_manual(0, 0)")
    assert count(ours, "SELECT FROM job_results") == 1


async def test_defect_13_the_service_key_is_not_in_the_database(
    unprivileged: Connect, seed_database: HubDatabase, database: HubDatabase, api: httpx.AsyncClient
) -> None:
    settings = "SELECT array_to_string(setconfig, ' ') AS text FROM pg_db_role_setting"
    with psycopg.connect(seed_database.admin_url, autocommit=True) as admin:
        name = sql.Identifier(seed_database.name)
        admin.execute(sql.SQL("ALTER DATABASE {} SET app.service_role_key = {}").format(name, SERVICE_KEY))
    stranger = unprivileged(seed_database)
    assert one(stranger, "SELECT current_setting('app.service_role_key') AS key") == {"key": SERVICE_KEY}
    assert SERVICE_KEY in str(stranger.execute(settings.encode()).fetchall()), "any role reads the seed's key"

    await user(api, "ann")
    assert (await api.get("/v1/users", headers=bearer(SERVICE_KEY))).status_code == 200, "the API has this key"
    with psycopg.connect(database.admin_url) as admin:
        of_ours = "JOIN pg_database d ON d.oid = setdatabase WHERE d.datname = current_database()"
        assert admin.execute(f"{settings} {of_ours}".encode()).fetchall() == []
        assert admin.execute("SELECT FROM pg_settings WHERE setting LIKE %s", (f"%{SERVICE_KEY}%",)).rowcount == 0
    found = contents(database.admin_url)
    assert "ann" in found
    assert SERVICE_KEY not in found
    assert SERVICE_KEY.encode().hex() not in found


@pytest.mark.parametrize("key", [None, "", "undefined", "short"])
def test_defect_14_without_a_key_the_hub_does_not_start(tmp_path: Path, key: str | None) -> None:
    assert seed_code.authorized("Bearer undefined", {}), "the seed lets everybody in"
    settings = Settings(
        home=tmp_path,
        service_key=None if key is None else SecretStr(key),
        vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
    )
    with pytest.raises(NotConfigured, match="NEXUS_SERVICE_KEY"):
        create_app(settings)


async def test_defect_14_an_undefined_key_is_refused_and_keys_are_compared_in_constant_time(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    plain = hmac.compare_digest

    def spied(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return plain(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", spied)
    for token in ("undefined", "null", "None", "", SERVICE_KEY[:-1], f"{SERVICE_KEY}x"):
        assert (await api.get("/v1/jobs", headers=bearer(token))).status_code == 401, token
    assert (await api.get("/v1/jobs", headers=bearer(SERVICE_KEY))).status_code == 200
    assert {expected for _, expected in compared} == {SERVICE_KEY.encode()}
    assert len(compared) == 6, "all but the empty one"


async def test_defect_15_a_job_runs_as_it_was_stored_whatever_a_request_says(
    seed: Connection, library: Library, api: httpx.AsyncClient
) -> None:
    row = one(
        seed,
        "INSERT INTO job_results (user_id, job_type, server_id, tool_name, params) "
        "VALUES (%s, 'tool_invoke', 'github', 'search', '{}') RETURNING id",
        ALICE,
    )
    forged = {"job_id": row["id"], "user_id": str(BOB), "params": {"forged": True}}
    ran: list[Any] = []
    seed_code.execute_job(seed, forged, lambda params, user_id: ran.append((params, user_id)))
    assert ran == [({"forged": True}, str(BOB))], "the seed runs Alice's job as Bob's, with other arguments"

    ref = ServerRef("system", uuid4())
    request = JobRequest("tool_invoke", "s__t", {"a": 1})
    stored, _ = await store.add(library.database, Principal(ALICE), request, ref, "t")
    claimed = await library.claimed(stored["id"])
    assert (claimed.job.user_id, claimed.job.params, claimed.job.tool_name) == (ALICE, {"a": 1}, "t")
    operator, owner = bearer(SERVICE_KEY), uuid4()
    waiting = (await store.add(library.database, Principal(owner), request, ref, "t"))[0]["id"]
    answer = await api.post("/internal/job-executor", json=forged | {"job_id": str(waiting)}, headers=operator)
    assert answer.json() == {"success": True}
    row = await store.get(library.database, Principal(owner), waiting)
    assert (row["user_id"], row["params"]) == (owner, {"a": 1})
    body = {"name": "s__t", "user_id": str(BOB)}
    assert (await api.post("/v1/jobs", json=body, headers=operator)).status_code == 422


async def test_defect_16_the_job_of_somebody_else_is_not_there(
    seed: Connection, library: Library, api: httpx.AsyncClient
) -> None:
    one(
        seed,
        "INSERT INTO job_results (user_id, job_type, server_id) VALUES (%s, 'tool_invoke', 'x') RETURNING id",
        ALICE,
    )
    assert one(seed, "SELECT user_id FROM job_results") == {"user_id": ALICE}, "the seed's query asks for no owner"

    ann, bob = await user(api, "ann"), await user(api, "bob")
    ann_id = UUID((await api.get("/v1/users", headers=bearer(SERVICE_KEY))).json()["items"][0]["id"])
    ref = ServerRef("system", uuid4())
    job, _ = await store.add(library.database, Principal(ann_id), JobRequest("tool_invoke", "s__t", {}), ref, "t")
    job_id = job["id"]
    assert (await api.get(f"/v1/jobs/{job_id}", headers=ann)).status_code == 200
    for method in ("GET", "DELETE"):
        assert (await api.request(method, f"/v1/jobs/{job_id}", headers=bob)).status_code == 404
    assert (await api.get("/v1/jobs", headers=bob)).json()["items"] == []
    with pytest.raises(NotFound):
        await store.get(library.database, Principal(BOB), job_id)


INJECTED = [f"{ALICE},user_id.not.is.null", "' OR true --", "x' OR '1'='1", "%' OR user_id IS NOT NULL --", "a\\"]


async def test_defect_17_what_is_searched_for_is_never_part_of_a_statement(seed: Connection, library: Library) -> None:
    for owner in (ALICE, BOB):
        seed.execute(b"INSERT INTO tool_cache (user_id, namespaced_name) VALUES (%s, 'secret__tool')", (owner,))
    injected = seed_code.where(seed_code.tools_filter(INJECTED[0]))
    assert count(seed, f"SELECT FROM tool_cache WHERE {injected}") == 2, "in the seed Alice finds Bob's tools too"

    await offer(library, ServerRef("user", uuid4()), "bobs", BOB, "secret")
    await offer(library, ServerRef("user", uuid4()), "alices", ALICE, "open")
    alice = Principal(ALICE)
    assert [item["name"] for item in asdict(await read.list_entries(library.database, alice, "tools"))["items"]] == [
        "alices__open"
    ]
    for text in INJECTED:
        for query, server in ((text, None), (None, text)):
            found = asdict(await read.list_entries(library.database, alice, "tools", query=query, server=server))
            assert "secret" not in str(found), text
        with pytest.raises(NotFound):
            await read.find(library.database, alice, "tool", text)
        with pytest.raises(InvalidRequest):
            store.parse_id(text)
        assert (await lists.list_jobs(library.database, alice, lists.JobFilter(status=text)))["items"] == []  # type: ignore[arg-type]
