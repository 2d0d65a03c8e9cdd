"""What is submitted while a part is away completes once it is back; what runs when a part dies is not lost."""

import httpx
import psutil
import pytest

from tests.fixtures.hub import Hub, running_call, until
from tests.fixtures.traces import Collector, only

pytestmark = pytest.mark.stack
CALL = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}


@pytest.mark.parametrize("name", ["worker", "prefect"])
def test_a_job_submitted_during_an_outage_completes(fragile_hub: Hub, name: str) -> None:
    pid = fragile_hub.kill(name)
    job = fragile_hub.submit(CALL)
    fragile_hub.back(name, pid)
    ended = fragile_hub.ended(job["id"], seconds=120)
    assert (ended["status"], ended["error"]) == ("completed", None)
    assert fragile_hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Completed"


@pytest.mark.parametrize("name", ["api", "postgres"])
def test_a_job_submitted_right_after_an_outage_completes(fragile_hub: Hub, name: str) -> None:
    if name == "postgres" and "NEXUS_DATABASE_URL" in fragile_hub.extra:
        pytest.skip("the PostgreSQL of NEXUS_TEST_POSTGRES_URL is not ours to kill")
    pid = fragile_hub.kill(name)

    def submit() -> str | None:
        try:
            with fragile_hub.api() as api:
                answer = api.post("/v1/jobs", json=CALL)
        except httpx.HTTPError:
            return None
        assert answer.status_code in {202, 503}, answer.text
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    job_id = until(submit, 60, "the API to take a job")
    assert fragile_hub.ended(job_id, seconds=120)["status"] == "completed"
    fragile_hub.back(name, pid)


def test_a_call_that_may_have_had_its_effect_is_not_repeated_after_the_worker_died(fragile_hub: Hub) -> None:
    job_id = running_call(fragile_hub, 300)
    fragile_hub.back("worker", fragile_hub.kill("worker"))
    ended = fragile_hub.ended(job_id, seconds=120)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("failed", "outcome-unknown", 1)
    assert fragile_hub.flow_run(ended["flow_run_id"])["state"]["name"] == "Crashed"


def test_a_call_that_the_caller_lets_repeat_is_another_attempt_after_the_worker_died(
    fragile_hub: Hub, fragile_collector: Collector
) -> None:
    job_id = running_call(fragile_hub, 8, retry="always")
    fragile_hub.back("worker", fragile_hub.kill("worker"))
    ended = fragile_hub.ended(job_id, seconds=120)
    assert (ended["status"], ended["attempt"]) == ("completed", 2)
    spans = fragile_collector.arrived(ended["trace_id"], "job.rescue", "job.record", "job.attempt")
    assert only(spans, "job.attempt").attributes["nexus.job.attempt"] == 2, "the first one went with its process"
    assert only(spans, "job.attempt").parent == only(spans, "job.rescue").parent == only(spans, "job.store").id


def test_a_running_call_outlives_the_death_of_the_api_prefect_and_postgres(fragile_hub: Hub) -> None:
    names = ["api", "prefect"] + ([] if "NEXUS_DATABASE_URL" in fragile_hub.extra else ["postgres"])
    for name in names:
        job_id = running_call(fragile_hub, 6)
        fragile_hub.back(name, fragile_hub.kill(name))
        ended = fragile_hub.ended(job_id, seconds=120)
        assert (ended["status"], ended["attempt"]) == ("completed", 1), (name, ended)


def test_a_run_cancelled_in_prefect_before_it_started_cancels_its_job(fragile_hub: Hub) -> None:
    """Prefect calls no hook for it: the sweep asks."""
    worker = psutil.Process(fragile_hub.part("worker")["pid"])
    worker.suspend()
    try:
        job = fragile_hub.submit(CALL)
        with fragile_hub.api() as api, fragile_hub.prefect() as prefect:

            def run_of() -> str | None:
                run: str | None = api.get(f"/v1/jobs/{job['id']}").json()["flow_run_id"]
                return run

            flow_run_id = until(run_of, 30, "the flow run")
            state = {"type": "CANCELLING", "name": "Cancelling"}
            prefect.post(f"/flow_runs/{flow_run_id}/set_state", json={"state": state}).raise_for_status()
        assert fragile_hub.flow_run(flow_run_id)["state"]["type"] == "CANCELLED"
        assert fragile_hub.ended(job["id"], seconds=90)["status"] == "cancelled"
    finally:
        worker.resume()
