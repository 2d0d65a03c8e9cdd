"""Many jobs in one flow run, on a whole hub."""

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


def test_200_jobs_share_a_run_and_the_run_says_what_it_carried(hub: Hub) -> None:
    ids = batch(hub, [JOB | {"arguments": {"timezone": ZONES[number % 4]}} for number in range(SIZE)])
    jobs = [hub.ended(job_id, seconds=120) for job_id in ids]
    assert {(job["status"], job["attempt"]) for job in jobs} == {("completed", 1)}
    for number in (0, 1, 2, 3, SIZE - 1):
        assert ZONES[number % 4] in jobs[number]["result"]["content"][0]["text"]
    (run_id,) = {job["flow_run_id"] for job in jobs}
    run = hub.flow_run(run_id)
    assert (run["state"]["type"], run["state"]["message"]) == ("COMPLETED", f"{SIZE} completed")
    assert run["name"].startswith(f"{SIZE} jobs ")
    assert list(run["parameters"]) == ["batch_id"]
    with hub.prefect() as prefect:
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        (page,) = prefect.post("/artifacts/filter", json=wanted).raise_for_status().json()
    assert page["data"].startswith(f"# {SIZE} completed\n")
    assert f"| jobs that ended in this run | {SIZE} |" in page["data"]
    assert f"| time | completed | - | {SIZE} |" in page["data"]


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
