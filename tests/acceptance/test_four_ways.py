"""Three ways to start a flow: Prefect's UI, the API and the command line; test_all_flows.py has the schedules."""

import json
from typing import Any

import pytest

from tests.fixtures.hub import Hub, until

pytestmark = pytest.mark.stack
TOOL = "time__get_current_time"
ARGUMENTS = {"timezone": "UTC"}


def job_of_run(hub: Hub, flow_run_id: str) -> dict[str, Any]:
    """The row that a flow run left, once it has ended."""

    def look() -> dict[str, Any] | None:
        with hub.api() as api:
            rows = api.get("/v1/jobs", params={"limit": 1000}).json()["items"]
        return next((row for row in rows if row["flow_run_id"] == flow_run_id and row["completed_at"]), None)

    return until(look, 90, f"the job of flow run {flow_run_id}")


def test_the_api_starts_a_job_and_names_its_flow_run(hub: Hub) -> None:
    with hub.api() as api:
        answer = api.post("/v1/jobs", json={"job_type": "tool_invoke", "name": TOOL, "arguments": ARGUMENTS})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    ended = hub.ended(job["id"])
    assert ended["status"] == "completed"
    flow_run = hub.flow_run(ended["flow_run_id"])
    assert flow_run["state"]["name"] == "Completed"
    assert flow_run["name"] == f"invoke-tool {TOOL} {job['id'][:4]}"
    given = {name: value for name, value in flow_run["parameters"].items() if value}
    assert given == {"job_id": job["id"], "attempt": 1}


def test_the_command_line_shows_the_states_and_the_result(hub: Hub) -> None:
    called = hub.run("call", TOOL, json.dumps(ARGUMENTS))
    assert called.code == 0, called.err
    assert "completed" in called.out
    assert '"timezone": "UTC"' in called.out


def test_prefects_command_line_runs_the_deployment(hub: Hub) -> None:
    arguments = json.dumps(ARGUMENTS)
    ran = hub.prefect_cli(
        "deployment", "run", "invoke-tool/nexus", "-p", f"tool={TOOL}", "-p", f"arguments={arguments}", "--watch"
    )
    assert ran.code == 0, ran.out + ran.err
    with hub.api() as api:
        newest = api.get("/v1/jobs", params={"limit": 1}).json()["items"][0]
    assert newest["status"] == "completed"
    flow_run = hub.flow_run(newest["flow_run_id"])
    assert flow_run["parameters"]["tool"] == TOOL
    assert flow_run["name"] == f"invoke-tool {TOOL} {newest['id'][:4]}"


def test_prefects_api_runs_the_deployment_as_its_ui_does(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/nexus").json()
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"tool": TOOL, "arguments": ARGUMENTS}, "state": {"type": "SCHEDULED"}},
        ).json()
    assert hub.flow_run(made["id"])["state"]["name"] == "Completed"
    assert job_of_run(hub, made["id"])["status"] == "completed"


def test_a_run_without_a_tool_says_what_to_give(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/nexus").json()
        made = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).json()
    state = hub.flow_run(made["id"])["state"]
    assert state["name"] == "Failed"
    assert state["message"] == "invalid-request: name what to run, or give a job_id"


def test_retrying_an_ended_run_in_prefect_does_nothing(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/nexus").json()
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"tool": TOOL, "arguments": ARGUMENTS}},
        ).json()
        hub.flow_run(made["id"])
        before = job_of_run(hub, made["id"])
        again = prefect.post(f"/flow_runs/{made['id']}/set_state", json={"state": {"type": "SCHEDULED"}, "force": True})
        assert again.is_success
        until(lambda: True if hub.flow_run(made["id"])["run_count"] == 2 else None, 30, "the second run")
    assert hub.flow_run(made["id"])["state"]["message"] == "nothing to do: the job is completed"
    assert job_of_run(hub, made["id"]) == before


def test_a_flow_started_for_a_user_belongs_to_that_user(hub: Hub) -> None:
    token = hub.user("flora")
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/nexus").json()
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"tool": TOOL, "arguments": ARGUMENTS, "user": "flora"}},
        ).json()
    hub.flow_run(made["id"])
    with hub.api(token) as api:
        rows = api.get("/v1/jobs").json()["items"]
    assert [row["flow_run_id"] for row in rows] == [made["id"]]


def test_deploying_again_keeps_what_people_gave_a_deployment(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/fetch-resource/nexus").json()
        schedule = {"schedule": {"cron": "0 0 1 1 *"}, "active": True, "parameters": {"server": "time"}}
        prefect.post(f"/deployments/{deployment['id']}/schedules", json=[schedule]).raise_for_status()
        prefect.patch(f"/deployments/{deployment['id']}", json={"tags": ["theirs"]}).raise_for_status()
        assert hub.run("deploy").code == 0
        after = prefect.get("/deployments/name/fetch-resource/nexus").json()
    assert after["id"] == deployment["id"]
    assert [one["parameters"] for one in after["schedules"]] == [{"server": "time"}]
    assert after["tags"] == ["theirs"]
    assert after["parameter_openapi_schema"] == deployment["parameter_openapi_schema"]
