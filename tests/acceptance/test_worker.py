"""The worker takes runs without a poll, which comes once an hour here, and keeps to Prefect's limits."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.worker.policy import KNOWN_SECONDS
from tests.fixtures.hub import Hub, process, until

pytestmark = pytest.mark.stack


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
    """How many runs were under way at most until the jobs had ended, and with them their runs.

    A job ends a moment before its run. If the limit of its deployment is lifted in between, Prefect can't give the
    run's slot back and refuses its end until the lease of that slot is over, 300 s later.
    """
    most = 0
    with hub.api() as api:
        while any(api.get(f"/v1/jobs/{job}").json()["status"] != "completed" for job in jobs):
            most = max(most, under_way(hub))
    until(lambda: under_way(hub) == 0, 30, "the ends of the runs")
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
        return str(prefect.get("/deployments/name/invoke-tool/invoke-tool").json()["id"])


def test_a_job_is_taken(quiet_hub: Hub) -> None:
    assert quiet_hub.ended(waits(quiet_hub, 0))["status"] == "completed"


def test_a_run_that_a_person_starts_in_prefect_is_taken(quiet_hub: Hub) -> None:
    asked = {"parameters": {"tool": "habits__wait", "arguments": {"seconds": 0}}, "state": {"type": "SCHEDULED"}}
    with quiet_hub.prefect() as prefect:
        made = prefect.post(f"/deployments/{deployment(quiet_hub)}/create_flow_run", json=asked).json()
    assert quiet_hub.flow_run(made["id"])["state"]["type"] == "COMPLETED"


def test_a_slow_call_holds_up_no_other(quiet_hub: Hub) -> None:
    slow = waits(quiet_hub, 120)
    until(lambda: under_way(quiet_hub) > 0, 30, "the slow job's run")
    assert quiet_hub.ended(waits(quiet_hub, 0))["status"] == "completed"
    with quiet_hub.api() as api:
        assert api.get(f"/v1/jobs/{slow}").json()["status"] == "running"
        api.delete(f"/v1/jobs/{slow}").raise_for_status()
    assert quiet_hub.ended(slow)["status"] == "cancelled"


def test_a_cancellation_in_prefect_ends_a_run_and_its_job(quiet_hub: Hub) -> None:
    job = waits(quiet_hub, 120)
    with quiet_hub.api() as api:
        until(lambda: api.get(f"/v1/jobs/{job}").json()["started_at"], 30, "the job's start")
        run = api.get(f"/v1/jobs/{job}").json()["flow_run_id"]
    with quiet_hub.prefect() as prefect:
        prefect.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    assert quiet_hub.ended(job)["status"] == "cancelled"
    assert quiet_hub.flow_run(run)["state"]["type"] == "CANCELLED"


def test_the_limit_of_the_pool_is_kept(quiet_hub: Hub) -> None:
    with limited(quiet_hub, "/work_pools/nexus"):
        assert most_under_way(quiet_hub, [waits(quiet_hub, 0.5) for _ in range(4)]) == 1


def test_the_limit_of_a_deployment_is_kept(quiet_hub: Hub) -> None:
    """As for the runs that people start; jobs of the API that come together share runs of another deployment."""
    path = f"/deployments/{deployment(quiet_hub)}"
    asked = {"parameters": {"tool": "habits__wait", "arguments": {"seconds": 0.5}}, "state": {"type": "SCHEDULED"}}
    with limited(quiet_hub, path), quiet_hub.prefect() as prefect:
        time.sleep(KNOWN_SECONDS)
        runs = [prefect.post(f"{path}/create_flow_run", json=asked).json()["id"] for _ in range(4)]
        most = 0
        while {prefect.get(f"/flow_runs/{run}").json()["state"]["type"] for run in runs} != {"COMPLETED"}:
            most = max(most, under_way(quiet_hub))
    assert most == 1


def test_the_limit_of_a_queue_is_kept(quiet_hub: Hub) -> None:
    with limited(quiet_hub, "/work_pools/nexus/queues/default"):
        assert most_under_way(quiet_hub, [waits(quiet_hub, 0.5) for _ in range(4)]) == 1


def test_a_paused_pool_gives_nothing_until_it_goes_on(quiet_hub: Hub) -> None:
    with quiet_hub.prefect() as prefect:
        prefect.patch("/work_pools/nexus", json={"is_paused": True}).raise_for_status()
        try:
            job = waits(quiet_hub, 0)
            with quiet_hub.api() as api:
                run = until(lambda: api.get(f"/v1/jobs/{job}").json()["flow_run_id"], 30, "the job's run")
            assert prefect.get(f"/flow_runs/{run}").json()["state"]["type"] == "SCHEDULED"
        finally:
            prefect.patch("/work_pools/nexus", json={"is_paused": False}).raise_for_status()
    assert quiet_hub.ended(waits(quiet_hub, 0))["status"] == "completed"
    assert quiet_hub.ended(job)["status"] == "completed"


def test_prefects_own_command_starts_one_too(quiet_hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
    options = ["--pool", "nexus", "--type", "nexus", "--name", "by-hand"]
    with process(tmp_path, "by-hand", [*command, *options], quiet_hub.prefect_environment) as by_hand:
        until(lambda: online(quiet_hub).get("by-hand"), 90, "a worker that Prefect's command has started")
        assert len(online(quiet_hub)) == 2
        by_hand.kill()
        by_hand.wait()  # its SIGTERM raises wherever the command is, also in the middle of an import


def online(hub: Hub) -> dict[str, bool]:
    """The workers that Prefect shows, by their names, and whether they are online."""
    with hub.prefect() as prefect:
        workers = prefect.post("/work_pools/nexus/workers/filter", json={}).json()
    return {worker["name"]: worker["status"] == "ONLINE" for worker in workers}
