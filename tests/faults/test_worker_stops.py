"""A worker that is told to stop finishes what it can, and hands back what it can't, without a second attempt."""

import psutil
import pytest

from tests.fixtures.hub import GRACE_SECONDS, Hub, running_call, until

pytestmark = pytest.mark.stack


def test_a_worker_that_is_told_to_stop_finishes_its_calls_first(fragile_hub: Hub) -> None:
    job_id = running_call(fragile_hub, 6)
    pid: int = fragile_hub.part("worker")["pid"]
    psutil.Process(pid).terminate()
    ended = fragile_hub.ended(job_id, seconds=60)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert fragile_hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Completed"
    fragile_hub.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_what_takes_too_long(fragile_hub: Hub) -> None:
    again = running_call(fragile_hub, GRACE_SECONDS + 5, retry="always")
    once = running_call(fragile_hub, 300)
    pid: int = fragile_hub.part("worker")["pid"]
    psutil.Process(pid).terminate()
    failed = fragile_hub.ended(once, seconds=60)
    assert (failed["status"], failed["error_code"], failed["attempt"]) == ("failed", "outcome-unknown", 1)
    completed = fragile_hub.ended(again, seconds=120)
    assert (completed["status"], completed["attempt"]) == ("completed", 1)
    run = fragile_hub.flow_run(completed["flow_run_id"])
    assert (run["state"]["name"], run["run_count"]) == ("Completed", 2)
    fragile_hub.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_the_rest_of_a_batch(fragile_hub: Hub) -> None:
    job = {"name": "habits__wait", "arguments": {"seconds": 4}, "retry": "always"}
    with fragile_hub.api() as api:
        answer = api.post("/v1/jobs:batch", json={"jobs": [job] * 160})
        ids: list[str] = answer.raise_for_status().json()["ids"]
        until(lambda: any(api.get(f"/v1/jobs/{one}").json()["status"] == "running" for one in ids), 60, "a call")
    pid: int = fragile_hub.part("worker")["pid"]
    psutil.Process(pid).terminate()
    ended = [fragile_hub.ended(one, seconds=120) for one in ids]
    assert {(one["status"], one["attempt"]) for one in ended} == {("completed", 1)}
    (run_id,) = {one["flow_run_id"] for one in ended}
    run = fragile_hub.flow_run(run_id)
    assert (run["state"]["name"], run["run_count"]) == ("Completed", 2)
    fragile_hub.back("worker", pid)
