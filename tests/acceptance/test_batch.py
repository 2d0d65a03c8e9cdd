"""Jobs that come together and share flow runs, on a whole hub."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fixtures.hub import HABITS, Hub, until

pytestmark = pytest.mark.stack
ZONES = ("UTC", "Europe/Paris", "Asia/Tokyo", "America/Lima")
JOB = {"name": "time__get_current_time"}
SIZE = 200


def batch(hub: Hub, jobs: list[dict[str, object]]) -> list[str]:
    with hub.api() as api:
        answer = api.post("/v1/jobs:batch", json={"jobs": jobs})
        assert answer.status_code == 202, answer.text
        ids: list[str] = answer.json()["ids"]
        return ids


def test_200_jobs_share_runs_and_each_run_says_what_it_carried(hub: Hub) -> None:
    """One run, unless another one takes over in between."""
    ids = batch(hub, [JOB | {"arguments": {"timezone": ZONES[number % 4]}} for number in range(SIZE)])
    jobs = [hub.ended(job_id, seconds=120) for job_id in ids]
    assert {(job["status"], job["attempt"]) for job in jobs} == {("completed", 1)}
    for number in (0, 1, 2, 3, SIZE - 1):
        assert ZONES[number % 4] in jobs[number]["result"]["content"][0]["text"]
    carried = Counter(str(job["flow_run_id"]) for job in jobs)
    assert len(carried) <= 3
    for run_id, count in carried.items():
        run = hub.flow_run(run_id)
        assert (run["state"]["type"], run["state"]["message"]) == ("COMPLETED", f"{count} completed")
        assert run["name"].startswith(f"{count} jobs ")
        assert list(run["parameters"]) == ["batch_id"]
        with hub.prefect() as prefect:
            wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
            (page,) = prefect.post("/artifacts/filter", json=wanted).raise_for_status().json()
        assert page["data"].startswith(f"# {count} completed\n")
        assert f"| jobs that ended in this run | {count} |" in page["data"]
        assert f"| time | completed | - | {count} |" in page["data"]


def test_a_job_that_comes_alone_has_its_own_run_and_those_that_come_with_others_share(hub: Hub) -> None:
    hub.until_idle()
    alone = hub.ended(hub.submit(JOB | {"arguments": {"timezone": "UTC"}})["id"])
    run = hub.flow_run(alone["flow_run_id"])
    assert run["parameters"] == {"job_id": alone["id"], "attempt": 1}
    with ThreadPoolExecutor(16) as clients:
        sent = list(clients.map(lambda _: hub.submit(JOB | {"arguments": {"timezone": "UTC"}})["id"], range(48)))
    jobs = [hub.ended(job_id, seconds=120) for job_id in sent]
    assert {job["status"] for job in jobs} == {"completed"}
    assert len({job["flow_run_id"] for job in jobs}) < len(jobs) / 4


def test_cancelling_the_shared_run_in_prefect_cancels_what_is_left_of_it(hub: Hub) -> None:
    added = hub.run("server", "add", "habits", "--command", *HABITS)
    assert added.code == 0, added.err
    try:
        ids = batch(hub, [{"name": "habits__wait", "arguments": {"seconds": 120}}] * 40)
        with hub.api() as api:
            run_id = until(lambda: running_in(api, ids[0]) or running_in(api, ids[-1]), 60, "a call that is under way")
        with hub.prefect() as prefect:
            state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
            prefect.post(f"/flow_runs/{run_id}/set_state", json=state).raise_for_status()
        assert {hub.ended(job_id)["status"] for job_id in ids} == {"cancelled"}
        assert hub.flow_run(run_id)["state"]["type"] == "CANCELLED"
    finally:
        hub.run("server", "remove", "habits")


def running_in(api: httpx.Client, job_id: str) -> str | None:
    job = api.get(f"/v1/jobs/{job_id}").json()
    return str(job["flow_run_id"]) if job["status"] == "running" else None
