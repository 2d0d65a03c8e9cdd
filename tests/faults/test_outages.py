"""What is submitted while a part is away completes once it is back; what runs when a part dies is not lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fixtures.hub import HABITS, TIME_SERVER, Hub, any_hub, running_call, until

pytestmark = pytest.mark.stack
GRACE_SECONDS = 12
CALL = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Hub]:
    """A hub whose parts are killed."""

    grace = {"NEXUS_WORKER_GRACE_SECONDS": str(GRACE_SECONDS)}
    with any_hub(tmp_path_factory.mktemp("fragile"), request, **grace) as hub:
        assert hub.run("server", "add", "time", "--command", *TIME_SERVER).code == 0
        assert hub.run("server", "add", "habits", "--command", *HABITS).code == 0
        yield hub


@pytest.mark.parametrize("name", ["worker", "prefect"])
def test_a_job_submitted_during_an_outage_completes(fragile: Hub, name: str) -> None:
    pid = fragile.kill(name)
    job = fragile.submit(CALL)
    fragile.back(name, pid)
    ended = fragile.ended(job["id"], seconds=120)
    assert (ended["status"], ended["error"]) == ("completed", None)
    assert fragile.flow_run(ended["flow_run_id"])["state"]["name"] == "Completed"


@pytest.mark.parametrize("name", ["api", "postgres"])
def test_a_job_submitted_right_after_an_outage_completes(fragile: Hub, name: str) -> None:
    if name == "postgres" and "NEXUS_DATABASE_URL" in fragile.extra:
        pytest.skip("the PostgreSQL of NEXUS_TEST_POSTGRES_URL is not ours to kill")
    pid = fragile.kill(name)

    def submit() -> str | None:
        try:
            with fragile.api() as api:
                answer = api.post("/v1/jobs", json=CALL)
        except httpx.HTTPError:
            return None
        assert answer.status_code in {202, 503}, answer.text
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    job_id = until(submit, 60, "the API to take a job")
    assert fragile.ended(job_id, seconds=120)["status"] == "completed"
    fragile.back(name, pid)


def test_a_call_that_may_have_had_its_effect_is_not_repeated_after_the_worker_died(fragile: Hub) -> None:
    job_id = running_call(fragile, 300)
    fragile.back("worker", fragile.kill("worker"))
    ended = fragile.ended(job_id, seconds=120)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("failed", "outcome-unknown", 1)
    assert fragile.flow_run(ended["flow_run_id"])["state"]["name"] == "Crashed"


def test_a_call_that_the_caller_lets_repeat_is_another_attempt_after_the_worker_died(fragile: Hub) -> None:
    job_id = running_call(fragile, 8, retry="always")
    fragile.back("worker", fragile.kill("worker"))
    ended = fragile.ended(job_id, seconds=120)
    assert (ended["status"], ended["attempt"]) == ("completed", 2)


def test_a_running_call_outlives_the_death_of_the_api_prefect_and_postgres(fragile: Hub) -> None:
    names = ["api", "prefect"] + ([] if "NEXUS_DATABASE_URL" in fragile.extra else ["postgres"])
    for name in names:
        job_id = running_call(fragile, 6)
        fragile.back(name, fragile.kill(name))
        ended = fragile.ended(job_id, seconds=120)
        assert (ended["status"], ended["attempt"]) == ("completed", 1), (name, ended)


def test_a_worker_that_is_told_to_stop_finishes_its_calls_first(fragile: Hub) -> None:
    job_id = running_call(fragile, 6)
    pid: int = fragile.part("worker")["pid"]
    psutil.Process(pid).terminate()
    ended = fragile.ended(job_id, seconds=60)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert fragile.flow_run(ended["flow_run_id"])["state"]["name"] == "Completed"
    fragile.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_what_takes_too_long(fragile: Hub) -> None:
    again = running_call(fragile, GRACE_SECONDS + 5, retry="always")
    once = running_call(fragile, 300)
    pid: int = fragile.part("worker")["pid"]
    psutil.Process(pid).terminate()
    failed = fragile.ended(once, seconds=60)
    assert (failed["status"], failed["error_code"], failed["attempt"]) == ("failed", "outcome-unknown", 1)
    completed = fragile.ended(again, seconds=120)
    assert (completed["status"], completed["attempt"]) == ("completed", 1)
    run = fragile.flow_run(completed["flow_run_id"])
    assert (run["state"]["name"], run["run_count"]) == ("Completed", 2)
    fragile.back("worker", pid)


def test_a_worker_that_is_told_to_stop_hands_back_the_rest_of_a_batch(fragile: Hub) -> None:
    job = {"name": "habits__wait", "arguments": {"seconds": 4}, "retry": "always"}
    with fragile.api() as api:
        answer = api.post("/v1/jobs:batch", json={"jobs": [job] * 160})
        ids: list[str] = answer.raise_for_status().json()["ids"]
        until(lambda: any(api.get(f"/v1/jobs/{one}").json()["status"] == "running" for one in ids), 60, "a call")
    pid: int = fragile.part("worker")["pid"]
    psutil.Process(pid).terminate()
    ended = [fragile.ended(one, seconds=120) for one in ids]
    assert {(one["status"], one["attempt"]) for one in ended} == {("completed", 1)}
    (run_id,) = {one["flow_run_id"] for one in ended}
    run = fragile.flow_run(run_id)
    assert (run["state"]["name"], run["run_count"]) == ("Completed", 2)
    fragile.back("worker", pid)


def endless_call(hub: Hub, folder: Path) -> str:
    """A call under way at its server, which touches a file in the folder when it is told of a cancellation."""
    job = hub.submit({"name": "habits__hang", "arguments": {"folder": str(folder)}})
    appears(folder / "began")
    return str(job["id"])


def appears(path: Path) -> None:
    """Wait for a file that a server touches."""
    until(lambda: True if path.exists() else None, 60, path.name)


def assert_cancelled(hub: Hub, job_id: str, folder: Path) -> None:
    """The job, its server and its flow run all know."""
    ended = hub.ended(job_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("cancelled", "cancelled", 1)
    appears(folder / "cancelled")
    assert hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Cancelled"


def test_cancelling_reaches_the_call_and_the_flow_run(fragile: Hub, tmp_path: Path) -> None:
    job_id = endless_call(fragile, tmp_path)
    with fragile.api() as api:
        assert api.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    assert_cancelled(fragile, job_id, tmp_path)


def test_cancelling_on_the_command_line_reaches_the_call_and_the_flow_run(fragile: Hub, tmp_path: Path) -> None:
    job_id = endless_call(fragile, tmp_path)
    assert fragile.run("job", "cancel", job_id).code == 0
    assert_cancelled(fragile, job_id, tmp_path)


@pytest.mark.parametrize("kind", ["CANCELLING", "CANCELLED"])
def test_cancelling_in_prefect_cancels_the_job(fragile: Hub, tmp_path: Path, kind: str) -> None:
    """By its button, which asks for it, or by setting the state itself, which asks nobody."""
    job_id = endless_call(fragile, tmp_path)
    with fragile.api() as api, fragile.prefect() as prefect:
        flow_run_id = api.get(f"/v1/jobs/{job_id}").json()["flow_run_id"]
        body = {"state": {"type": kind, "name": kind.capitalize()}, "force": kind == "CANCELLED"}
        assert prefect.post(f"/flow_runs/{flow_run_id}/set_state", json=body).is_success
    assert_cancelled(fragile, job_id, tmp_path)


def test_a_run_cancelled_in_prefect_before_it_started_cancels_its_job(fragile: Hub) -> None:
    """Prefect calls no hook for it: the sweep asks."""
    worker = psutil.Process(fragile.part("worker")["pid"])
    worker.suspend()
    try:
        job = fragile.submit(CALL)
        with fragile.api() as api, fragile.prefect() as prefect:

            def run_of() -> str | None:
                run: str | None = api.get(f"/v1/jobs/{job['id']}").json()["flow_run_id"]
                return run

            flow_run_id = until(run_of, 30, "the flow run")
            state = {"type": "CANCELLING", "name": "Cancelling"}
            prefect.post(f"/flow_runs/{flow_run_id}/set_state", json={"state": state}).raise_for_status()
        assert fragile.flow_run(flow_run_id)["state"]["type"] == "CANCELLED"
        assert fragile.ended(job["id"], seconds=90)["status"] == "cancelled"
    finally:
        worker.resume()


def test_a_job_over_its_servers_limit_waits_and_then_completes_in_the_same_run(fragile: Hub) -> None:
    added = fragile.run("server", "add", "limited", "--limit-per-minute", "1", "--command", *TIME_SERVER)
    assert added.code == 0
    call = {"name": "limited__get_current_time", "arguments": {"timezone": "UTC"}}
    assert fragile.called(call)["status"] == "completed"
    beside = running_call(fragile, 20)
    waiting = fragile.submit(call)
    with fragile.api() as api, fragile.prefect() as prefect:

        def look() -> str | None:
            row = api.get(f"/v1/jobs/{waiting['id']}").json()
            if row["status"] != "pending" or not row["flow_run_id"] or row["available_at"] == row["created_at"]:
                return None
            run = prefect.get(f"/flow_runs/{row['flow_run_id']}").json()
            return str(run["state"]["name"]) if run["state"]["name"] != "Running" else None

        assert until(look, 30, "the wait for the limit") == "AwaitingRetry"
    ended = fragile.ended(waiting["id"], seconds=120)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert fragile.flow_run(ended["flow_run_id"])["run_count"] == 2
    assert fragile.ended(beside)["status"] == "completed"
