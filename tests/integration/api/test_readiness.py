"""`/readyz`: when an API takes no work, and what it says of the database, the schema and Prefect's scheduler."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from nexus_hub.db.migrate import known_migrations, migrate
from nexus_hub.orchestration import scheduler_watch
from nexus_hub.orchestration.health import RunSchedule
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

SECONDS = 120
NEEDED = known_migrations()[-1].version


async def ask(served: Served, path: str = "/readyz") -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
        return await http.get(path)


async def until_ready(served: Served) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        while (answer := await ask(served)).status_code != httpx.codes.OK:
            await asyncio.sleep(0.1)
    found: dict[str, Any] = answer.json()
    return found


async def test_an_api_on_an_older_schema_waits_for_the_migration_and_serves_then(
    empty_database: HubDatabase, tmp_path: Path
) -> None:
    async with serving(empty_database, tmp_path, free_port()) as served:
        answer = await ask(served)
        assert (answer.status_code, answer.json()["code"]) == (503, "schema-too-old")
        assert "run nexus-hub migrate" in answer.json()["detail"]
        assert answer.json()["parts"]["schema"] == {"state": "down", "migration": 0, "needed": NEEDED}
        await migrate(empty_database.owner_url, app_url=empty_database.app_url)
        await until_ready(served)
        async with served.client() as api:
            assert (await api.request("GET", "/v1/jobs"))["items"] == []
            added = await api.request("POST", "/v1/users", {"name": "ann"})
        assert added["name"] == "ann"


async def test_an_api_on_a_newer_schema_is_ready(database: HubDatabase, tmp_path: Path) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, '9999_later', 'x')")
    async with serving(database, tmp_path, free_port()) as served:
        assert (await until_ready(served))["parts"]["schema"] == {"state": "ok", "migration": 9999, "needed": NEEDED}


async def test_a_prefect_that_is_away_is_told_of_and_makes_no_api_unready(served: Served) -> None:
    await served.runtime.scheduler_watch.look()
    parts = (await until_ready(served))["parts"]
    assert parts["prefect"] == {"state": "down"}
    assert parts["scheduler"] == {"state": "unknown"}


@pytest.mark.parametrize(("minutes", "state"), [(59, "ok"), (54, "warn"), (0, "down")])
async def test_a_dead_scheduler_is_told_of_and_makes_no_api_unready(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int, state: str
) -> None:
    async def read(_prefect: object) -> RunSchedule:
        return RunSchedule(60.0, minutes * 60.0)

    monkeypatch.setattr(scheduler_watch, "read_schedule", read)
    async with serving(database, tmp_path, free_port()) as served:
        await served.runtime.scheduler_watch.look()
        parts = (await until_ready(served))["parts"]
    assert parts["scheduler"] == {"state": state, "age_seconds": 60.0, "horizon_seconds": minutes * 60.0}


async def test_nobody_who_asks_is_shown_a_secret_or_an_address(served: Served) -> None:
    shown = (await ask(served)).text
    for hidden in (SERVICE_KEY, served.database.url, "127.0.0.1", "postgres"):
        assert hidden not in shown
