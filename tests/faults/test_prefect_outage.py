"""Prefect is away for two minutes: what runs goes on, what waits or is stored meanwhile starts once it is back."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.fixtures.hub import (
    HABITS,
    Hub,
    answers,
    kept_up,
    outside_postgres,
    process,
    running_call,
    until,
)
from tests.fixtures.upstreams import free_port

pytestmark = [pytest.mark.stack, pytest.mark.slow]
AUTH = "admin:of-the-tests"
OUTAGE_SECONDS = 120
SERVER = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
CALL = {"name": "habits__echo"}
DISPATCHED = """
    SELECT id FROM job_results
    WHERE id = %(id)s
      AND (flow_run_id IS NOT NULL
           OR EXISTS (SELECT FROM shared_runs
                      WHERE flow_run_id IS NOT NULL AND begun_at IS NULL AND closed_at IS NULL))
"""


@dataclass
class Prefect:
    """Prefect's server as a process of the test's own: once it is killed, only the test starts it again."""

    hub: Hub
    directory: Path
    environment: dict[str, str]
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*SERVER, "--port", str(self.hub.prefect_port), "--log-level", "warning"]
        self.process = self.stack.enter_context(process(self.directory, "prefect", command, self.environment))
        until(lambda: answers(f"{self.hub.prefect_url}/health", self.hub.prefect_auth), 180, "Prefect")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def apart(
    tmp_path: Path, postgres_admin_url: str, postgres_roles: None, request: pytest.FixtureRequest
) -> Iterator[tuple[Hub, Prefect]]:
    """A hub, with the variables that the test gives it, and the Prefect that it uses."""
    hub = Hub(tmp_path / "home", free_port(), free_port(), dict(getattr(request, "param", {})))
    with ExitStack() as stack:
        variables = stack.enter_context(outside_postgres(postgres_admin_url))
        database = variables.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL")
        hub.extra |= variables | {"PREFECT_API_URL": hub.prefect_url, "PREFECT_API_AUTH_STRING": AUTH}
        own = {key: value for key, value in hub.environment.items() if not key.startswith("NEXUS_")} | {
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT__SERVER_FINAL": "1",
        }
        prefect = Prefect(hub, tmp_path, own)
        with prefect.stack:
            prefect.start()
            with kept_up(hub):
                assert hub.run("server", "add", "habits", "--command", *HABITS).code == 0
                yield hub, prefect


def scheduled_by_a_person(hub: Hub, seconds: float) -> str:
    """A run that Prefect is to start in so many seconds; its id."""
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").raise_for_status().json()
        due = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        body = {
            "parameters": {"tool": CALL["name"], "arguments": {}},
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due}},
        }
        made = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status().json()
        return str(made["id"])


def dispatched(hub: Hub) -> str:
    """A job whose run, its own or a shared one, Prefect knows of and nobody has begun; the worker sleeps meanwhile."""
    job = hub.submit(CALL)
    with psycopg.connect(hub.app_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        until(lambda: connection.execute(DISPATCHED, {"id": job["id"]}).fetchone(), 60, "the flow run")
    return str(job["id"])


def after(moment: datetime, job: dict[str, Any]) -> float:
    """How many seconds after a moment a job ended."""
    return (datetime.fromisoformat(job["completed_at"]) - moment).total_seconds()


def test_two_minutes_without_prefect_lose_nothing(
    apart: tuple[Hub, Prefect], capsys: pytest.CaptureFixture[str]
) -> None:
    hub, prefect = apart
    worker = psutil.Process(hub.part("worker")["pid"])
    going = running_call(hub, OUTAGE_SECONDS + 60)
    ending = running_call(hub, OUTAGE_SECONDS / 4)
    person = scheduled_by_a_person(hub, OUTAGE_SECONDS / 2)
    worker.suspend()
    waiting = dispatched(hub)

    prefect.kill()
    worker.resume()
    stored = str(hub.submit(CALL)["id"])
    gone = time.monotonic()
    meanwhile = hub.ended(ending, seconds=OUTAGE_SECONDS)
    assert (meanwhile["status"], meanwhile["attempt"]) == ("completed", 1)
    time.sleep(max(0, gone + OUTAGE_SECONDS - time.monotonic()))
    assert hub.part("worker")["pid"] == worker.pid

    prefect.start()
    back = datetime.now(UTC)
    jobs = {name: hub.ended(job, seconds=180) for name, job in {"stored": stored, "waiting": waiting}.items()}
    runs = {"person": hub.flow_run(person, 180)}
    jobs["going"] = hub.ended(going, seconds=180)
    known = {name: job["flow_run_id"] for name, job in jobs.items() if job["flow_run_id"] != meanwhile["flow_run_id"]}
    runs |= {name: hub.flow_run(run, 180) for name, run in known.items()}
    assert hub.flow_run(meanwhile["flow_run_id"], 300), "Prefect hears of the end that it missed, if not of which one"
    with capsys.disabled():
        for name in ("stored", "waiting"):
            sys.stdout.write(f"\n{name}: ended {after(back, jobs[name]):.1f} s after the return of Prefect")
    assert {name: (job["status"], job["attempt"]) for name, job in jobs.items()} == dict.fromkeys(
        jobs, ("completed", 1)
    )
    assert {name: run["state"]["name"] for name, run in runs.items()} == dict.fromkeys(runs, "Completed")


@pytest.mark.parametrize("apart", [{"PREFECT_CLIENT_MAX_RETRIES": "1"}], indirect=True)
def test_no_outage_is_too_long_for_the_worker_and_its_calls(apart: tuple[Hub, Prefect]) -> None:
    """Prefect's client gives up sooner here, so that these two minutes have the failures of a quarter of an hour."""
    hub, prefect = apart
    worker = hub.part("worker")["pid"]
    going = running_call(hub, OUTAGE_SECONDS + 30)
    prefect.kill()
    stored = str(hub.submit(CALL)["id"])
    time.sleep(OUTAGE_SECONDS)
    prefect.start()
    ended = [hub.ended(job, seconds=180) for job in (going, stored)]
    assert [(job["status"], job["attempt"]) for job in ended] == [("completed", 1)] * 2
    assert hub.part("worker")["pid"] == worker
