"""The worker takes runs without a poll, which comes once an hour here, and keeps to Prefect's limits."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.worker.policy import KNOWN_SECONDS
from tests.fixtures.hub import Hub, any_hub, until

pytestmark = pytest.mark.stack
HABITS = str(Path(__file__).parents[1] / "upstreams" / "habits.py")
SETTINGS = {
    "PREFECT_WORKER_QUERY_SECONDS": "3600",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
    "PREFECT_DEPLOYMENT_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
}


@pytest.fixture(scope="module")
def rung(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hub]:
    """A hub whose worker hardly ever polls."""
    with any_hub(tmp_path_factory.mktemp("worker"), request, **SETTINGS) as hub:
        assert hub.run("server", "add", "habits", "--command", sys.executable, HABITS).code == 0
        yield hub


def waits(hub: Hub, seconds: float) -> str:
    """The id of a job that takes so many seconds."""
    return str(hub.submit({"name": "habits__wait", "arguments": {"seconds": seconds}})["id"])


def under_way(hub: Hub) -> int:
    """How many runs have begun and not ended."""
    asked = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
    with hub.prefect() as prefect:
        count: int = prefect.post("/flow_runs/count", json=asked).raise_for_status().json()
    return count


def most_under_way(hub: Hub, jobs: list[str]) -> int:
    """How many runs were under way at most until the jobs had ended."""
    most = 0
    with hub.api() as api:
        while any(api.get(f"/v1/jobs/{job}").json()["status"] != "completed" for job in jobs):
            most = max(most, under_way(hub))
    return most


@contextmanager
def limited(hub: Hub, path: str) -> Iterator[None]:
    """One run at a time for what is at that path of Prefect's API."""
    with hub.prefect() as prefect:
        prefect.patch(path, json={"concurrency_limit": 1}).raise_for_status()
        try:
            yield
        finally:
            prefect.patch(path, json={"concurrency_limit": None}).raise_for_status()


def deployment(hub: Hub) -> str:
    with hub.prefect() as prefect:
        return str(prefect.get("/deployments/name/invoke-tool/nexus").json()["id"])


def test_a_job_is_taken(rung: Hub) -> None:
    assert rung.ended(waits(rung, 0))["status"] == "completed"


def test_a_run_that_a_person_starts_in_prefect_is_taken(rung: Hub) -> None:
    asked = {"parameters": {"tool": "habits__wait", "arguments": {"seconds": 0}}, "state": {"type": "SCHEDULED"}}
    with rung.prefect() as prefect:
        made = prefect.post(f"/deployments/{deployment(rung)}/create_flow_run", json=asked).json()
    assert rung.flow_run(made["id"])["state"]["type"] == "COMPLETED"


def test_a_slow_call_holds_up_no_other(rung: Hub) -> None:
    slow = waits(rung, 120)
    until(lambda: under_way(rung) > 0, 30, "the slow job's run")
    assert rung.ended(waits(rung, 0))["status"] == "completed"
    with rung.api() as api:
        assert api.get(f"/v1/jobs/{slow}").json()["status"] == "running"
        api.delete(f"/v1/jobs/{slow}").raise_for_status()
    assert rung.ended(slow)["status"] == "cancelled"


def test_a_cancellation_in_prefect_ends_a_run_and_its_job(rung: Hub) -> None:
    job = waits(rung, 120)
    with rung.api() as api:
        until(lambda: api.get(f"/v1/jobs/{job}").json()["started_at"], 30, "the job's start")
        run = api.get(f"/v1/jobs/{job}").json()["flow_run_id"]
    with rung.prefect() as prefect:
        prefect.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    assert rung.ended(job)["status"] == "cancelled"
    assert rung.flow_run(run)["state"]["type"] == "CANCELLED"


def test_the_limit_of_the_pool_is_kept(rung: Hub) -> None:
    with limited(rung, "/work_pools/nexus"):
        assert most_under_way(rung, [waits(rung, 0.5) for _ in range(4)]) == 1


def test_the_limit_of_a_deployment_is_kept(rung: Hub) -> None:
    with limited(rung, f"/deployments/{deployment(rung)}"):
        time.sleep(KNOWN_SECONDS)
        assert most_under_way(rung, [waits(rung, 0.5) for _ in range(4)]) == 1


def test_the_limit_of_a_queue_is_kept(rung: Hub) -> None:
    with limited(rung, "/work_pools/nexus/queues/default"):
        assert most_under_way(rung, [waits(rung, 0.5) for _ in range(4)]) == 1


def test_a_paused_pool_gives_nothing_until_it_goes_on(rung: Hub) -> None:
    with rung.prefect() as prefect:
        prefect.patch("/work_pools/nexus", json={"is_paused": True}).raise_for_status()
        try:
            job = waits(rung, 0)
            with rung.api() as api:
                run = until(lambda: api.get(f"/v1/jobs/{job}").json()["flow_run_id"], 30, "the job's run")
            assert prefect.get(f"/flow_runs/{run}").json()["state"]["type"] == "SCHEDULED"
        finally:
            prefect.patch("/work_pools/nexus", json={"is_paused": False}).raise_for_status()
    assert rung.ended(waits(rung, 0))["status"] == "completed"
    assert rung.ended(job)["status"] == "completed"


def test_prefects_own_command_starts_one_too(rung: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
    options = ["--pool", "nexus", "--type", "nexus", "--name", "by-hand"]
    with subprocess.Popen(
        [*command, *options],
        env=rung.prefect_environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            until(lambda: online(rung).get("by-hand"), 90, "a worker that Prefect's command has started")
            assert len(online(rung)) == 2
        finally:
            worker.terminate()


def online(hub: Hub) -> dict[str, bool]:
    """The workers that Prefect shows, by their names, and whether they are online."""
    with hub.prefect() as prefect:
        workers = prefect.post("/work_pools/nexus/workers/filter", json={}).json()
    return {worker["name"]: worker["status"] == "ONLINE" for worker in workers}
