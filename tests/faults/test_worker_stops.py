"""A worker that is told to stop finishes what it can, and hands back what it can't, without a second attempt."""

from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest

from tests.fixtures.hub import GRACE_SECONDS, Hub, running_call, until

pytestmark = pytest.mark.stack


def test_a_worker_that_is_told_to_stop_finishes_its_calls_first(fragile_hub: Hub) -> None:
    job_id = running_call(fragile_hub, 6)
    pid = fragile_hub.pid("worker")
    psutil.Process(pid).terminate()
    ended = fragile_hub.ended(job_id, seconds=60)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert fragile_hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Completed"
    fragile_hub.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_what_takes_too_long(fragile_hub: Hub) -> None:
    once = running_call(fragile_hub, 300)
    again = running_call(fragile_hub, GRACE_SECONDS + 5, retry="always")
    with fragile_hub.api() as api:
        first = api.get(f"/v1/jobs/{again}").json()["flow_run_id"]
    pid = fragile_hub.pid("worker")
    psutil.Process(pid).terminate()
    failed = fragile_hub.ended(once, seconds=60)
    assert (failed["status"], failed["error_code"], failed["attempt"]) == ("failed", "outcome-unknown", 1)
    completed = fragile_hub.ended(again, seconds=120)
    assert (completed["status"], completed["attempt"]) == ("completed", 1)
    assert completed["flow_run_id"] != first, "the run of a worker that stops takes nothing again"
    assert fragile_hub.flow_run(completed["flow_run_id"])["state"]["name"] == "Completed"
    fragile_hub.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_the_rest_of_a_batch(fragile_hub: Hub) -> None:
    job = {"name": "habits__wait", "arguments": {"seconds": 4}, "retry": "always"}
    with fragile_hub.api() as api:
        answer = api.post("/v1/jobs:batch", json={"jobs": [job] * 160})
        ids: list[str] = answer.raise_for_status().json()["ids"]
        until(lambda: any(api.get(f"/v1/jobs/{one}").json()["status"] == "running" for one in ids), 60, "a call")
    pid = fragile_hub.pid("worker")
    psutil.Process(pid).terminate()
    ended = [fragile_hub.ended(one, seconds=120) for one in ids]
    assert {(one["status"], one["attempt"]) for one in ended} == {("completed", 1)}
    runs = [fragile_hub.flow_run(run_id) for run_id in {one["flow_run_id"] for one in ended}]
    assert len(runs) > 1, "another run goes on with what is left"
    fragile_hub.back("worker", pid)


def test_a_worker_that_is_killed_in_the_midst_of_a_shared_run_is_followed_by_another(fragile_hub: Hub) -> None:
    again = {"name": "habits__wait", "arguments": {"seconds": 20}, "retry": "always"}
    once = {"name": "habits__wait", "arguments": {"seconds": 120}}
    with fragile_hub.api() as api:
        answer = api.post("/v1/jobs:batch", json={"jobs": [again] * 5 + [once] * 5})
        ids: list[str] = answer.raise_for_status().json()["ids"]
        until(lambda: all(_sent(api, one) for one in ids), 60, "all calls under way")
    pid: int = fragile_hub.part("worker")["pid"]
    psutil.Process(pid).kill()
    waiting = fragile_hub.submit({"name": "habits__wait", "arguments": {"seconds": 0}})["id"]
    jobs = [fragile_hub.ended(one, seconds=180) for one in ids]
    assert {(job["status"], job["attempt"]) for job in jobs[:5]} == {("completed", 2)}
    assert {(job["status"], job["error_code"]) for job in jobs[5:]} == {("failed", "outcome-unknown")}
    assert fragile_hub.ended(waiting, seconds=60)["status"] == "completed"
    (lost,) = {job["flow_run_id"] for job in jobs[5:]}
    assert lost not in {job["flow_run_id"] for job in jobs[:5]}
    assert fragile_hub.flow_run(lost, seconds=120)["state"]["type"] == "CRASHED"
    fragile_hub.back("worker", pid)


def _sent(api: httpx.Client, job_id: str) -> bool:
    """The call has been under way for a moment."""
    job = api.get(f"/v1/jobs/{job_id}").json()
    if job["status"] != "running":
        return False
    return datetime.now(UTC) - datetime.fromisoformat(job["started_at"]) > timedelta(seconds=2)
