"""What the page of the hub's health is told: parts, queue, the last hour, and advice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from nexus_hub.execution.shared_runs import WORKER_LISTENS
from nexus_hub.models import Principal
from nexus_hub.orchestration import health
from nexus_hub.orchestration.health import RunSchedule
from tests.fixtures.served import SERVICE_KEY, Served

TIME = uuid4()
Asked = Any


@pytest.fixture
def asked(served: Served) -> Asked:
    async def ask(token: str = SERVICE_KEY) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}) as client:
            answer = await client.get("/v1/health")
            assert answer.status_code == 200, answer.text
            shown: dict[str, Any] = answer.json()
            return shown

    return ask


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_hub.orchestration.health_report.KEPT_SECONDS", 0)


@asynccontextmanager
async def owner(served: Served) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        yield connection


async def end_jobs(served: Served, principal: Principal, count: int, **columns: Any) -> None:
    """Store jobs of the server `time` that took 100 ms, 200 ms and so on, and ended now or so many minutes ago."""
    row = {
        "user_id": principal.user_id,
        "server": TIME,
        "count": count,
        "status": "completed",
        "error_code": None,
        "ago": 0,
    }
    async with owner(served) as connection:
        await connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        await connection.execute(
            "INSERT INTO job_results (user_id, job_type, server_id, server_type, server_ref_id, status, error_code,"
            " created_at, started_at, completed_at)"
            " SELECT %(user_id)s, 'tool_invoke', %(server)s, 'system', %(server)s, %(status)s, %(error_code)s,"
            " x.at - n * interval '100 ms', x.at - n * interval '100 ms', x.at"
            " FROM (SELECT now() - make_interval(mins => %(ago)s) AS at) AS x,"
            " generate_series(1, %(count)s) AS n",
            row | columns,
        )
        await connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")


@pytest.fixture
async def server(served: Served) -> None:
    async with owner(served) as connection:
        await connection.execute(
            "INSERT INTO server_state (server_type, server_ref_id, name) VALUES ('system', %s, 'time')", [TIME]
        )


def by_name(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in shown["parts"]}


async def test_parts_that_are_away_say_what_to_do(asked: Asked) -> None:
    shown = await asked()
    found = by_name(shown)
    assert [*found] == ["database", "prefect", "worker", "scheduler", "api"]
    assert {name: part["state"] for name, part in found.items()} == {
        "database": "ok",
        "prefect": "down",
        "worker": "warn",
        "scheduler": "warn",
        "api": "ok",
    }
    assert all(bool(part["what_to_do"]) == (part["state"] != "ok") for part in found.values())
    assert [one["severity"] for one in shown["advice"]] == ["error", "warn", "warn"]
    assert all(one["href"] == "/health" for one in shown["advice"])


async def test_a_database_without_room_is_down_though_it_answers(
    served: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(served.database), "is_full", True)
    part = by_name(await asked())["database"]
    assert (part["state"], part["detail"]) == ("down", "PostgreSQL's disk is full: nothing can be stored.")


@pytest.mark.parametrize(("minutes", "state"), [(58, "ok"), (20, "warn"), (0, "down")])
async def test_a_dead_scheduler_is_known_by_how_far_its_runs_reach(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, minutes: int, state: str
) -> None:
    async def read(_prefect: object) -> RunSchedule:
        return RunSchedule(60.0, minutes * 60.0)

    monkeypatch.setattr(health, "read_schedule", read)
    part = by_name(await asked())["scheduler"]
    assert (part["state"], "restart Prefect's server" in (part["what_to_do"] or "")) == (state, state != "ok")


async def test_a_worker_is_known_by_its_connection_and_by_prefect(
    served: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_prefect: object) -> dict[str, float]:
        return {}

    async with await psycopg.AsyncConnection.connect(
        served.database.url, autocommit=True, application_name=WORKER_LISTENS
    ):
        assert by_name(await asked())["worker"]["detail"] == "1 worker connected."
        monkeypatch.setattr(health, "read_workers", read)
        assert by_name(await asked())["worker"]["state"] == "warn"
    async with owner(served) as connection:
        while (  # the server takes a moment to notice
            await (
                await connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [WORKER_LISTENS]
                )
            ).fetchone()
        ) != (0,):
            pass
    part = by_name(await asked())["worker"]
    assert (part["state"], part["detail"]) == ("down", "Prefect knows no worker.")


async def test_a_database_that_is_away_leaves_the_parts_to_be_seen(
    served: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with owner(served) as connection:
        await connection.execute("SELECT 1")
        monkeypatch.setattr(served.database, "_pool", _Gone())
        shown = await asked()
    assert by_name(shown)["database"]["state"] == "down"
    assert shown["queue"] == {"waiting": None, "running": None, "later": None, "oldest_seconds": None}
    assert shown["hour"] == {"minutes": [], "by_server": []}
    monkeypatch.undo()


class _Gone:
    """A pool whose database is away."""

    async def getconn(self) -> None:
        raise psycopg.OperationalError

    max_size = 1


async def test_the_last_hour_counts_what_ended_and_how_long_it_took(served: Served, asked: Asked, server: None) -> None:
    await end_jobs(served, Principal(), 19)
    await end_jobs(served, Principal(), 1, status="failed", error_code="upstream-rejected")
    hour = (await asked())["hour"]
    moments = [datetime.fromisoformat(minute["at"]) for minute in hour["minutes"]]
    assert len(moments) == 60
    assert moments == sorted(moments)
    (minute,) = [minute for minute in hour["minutes"] if minute["ended"]]
    assert (minute["ended"], minute["failed"]) == (20, 1)
    assert (minute["p50_ms"], minute["p95_ms"]) == (pytest.approx(950), pytest.approx(1805))
    assert all(one["p50_ms"] is None for one in hour["minutes"] if one is not minute)
    (one,) = hour["by_server"]
    assert (one["server"], one["ended"], one["failed"], one["top_error"]) == ("time", 20, 1, "upstream-rejected")


async def test_a_user_sees_figures_of_its_own_jobs(served: Served, asked: Asked, server: None) -> None:
    ann, anns = await served.user("ann")
    _, bobs = await served.user("bob")
    await end_jobs(served, ann, 3)
    await end_jobs(served, Principal(), 2)
    await served.stored(ann)
    await served.stored()
    for token, ended, waiting in ((SERVICE_KEY, 5, 2), (anns, 3, 1), (bobs, 0, 0)):
        shown = await asked(token)
        assert sum(minute["ended"] for minute in shown["hour"]["minutes"]) == ended
        assert sum(one["ended"] for one in shown["hour"]["by_server"]) == ended
        assert shown["queue"]["waiting"] == waiting


async def test_advice_names_the_server_and_the_page_that_shows_more(served: Served, asked: Asked, server: None) -> None:
    await end_jobs(served, Principal(), 16)
    await end_jobs(served, Principal(), 5, status="failed", error_code="upstream-rejected")
    await end_jobs(served, Principal(), 1, status="failed", error_code="outcome-unknown")
    async with owner(served) as connection:
        await connection.execute(
            "UPDATE server_state SET circuit = 'open', circuit_since = now(), circuit_until = now() + interval '9 s'"
        )
    advice = {one["href"]: one["title"] for one in (await asked())["advice"]}
    assert advice[f"/servers/system/{TIME}"] == "The server time gives no sign of life."
    assert "6 of the last 22 jobs of time failed" in advice[f"/jobs?server={TIME}&status=failed"]
    assert "of time whose effect is unknown: 1." in advice[f"/jobs?server={TIME}&search=outcome-unknown"]


async def test_a_report_is_good_for_a_moment(served: Served, asked: Asked, server: None) -> None:
    reports = served.runtime.health
    reports._figures._seconds = reports._figures._kept_seconds = 600
    for _ in range(3):
        await asked()
        await end_jobs(served, Principal(), 1)
    assert sum(minute["ended"] for minute in (await asked())["hour"]["minutes"]) == 0


async def test_minutes_that_are_over_are_read_once(served: Served, asked: Asked, server: None) -> None:
    await end_jobs(served, Principal(), 4, ago=9)
    before = (await asked())["hour"]["minutes"]
    async with owner(served) as connection:
        await connection.execute("TRUNCATE job_results")
    await end_jobs(served, Principal(), 2)
    after = (await asked())["hour"]["minutes"]
    assert len(after) == 60
    assert [minute["ended"] for minute in before if minute["ended"]] == [4]
    assert [minute["ended"] for minute in after if minute["ended"]] == [4, 2]
