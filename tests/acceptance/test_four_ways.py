"""Three ways to start a flow: Prefect's UI, the API and the command line; test_all_flows.py has the schedules."""

import json
from typing import Any

import pytest

from nexus_hub.orchestration.tool_choices import offered_tools
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
    assert flow_run["name"] == f"{TOOL} {job['id'][:4]}"
    given = {name: value for name, value in flow_run["parameters"].items() if value}
    assert given == {"job_id": job["id"], "attempt": 1}


def test_the_command_line_shows_the_states_and_the_result(hub: Hub) -> None:
    called = hub.run("call", TOOL, json.dumps(ARGUMENTS))
    assert called.code == 0, called.err
    assert "completed" in called.out
    assert '"timezone": "UTC"' in called.out


def test_prefects_command_line_runs_the_deployment(hub: Hub) -> None:
    arguments = json.dumps(ARGUMENTS)
    run_id = hub.prefect_run("invoke-tool/invoke-tool", "-p", f"tool={TOOL}", "-p", f"arguments={arguments}")
    job = job_of_run(hub, run_id)
    assert job["status"] == "completed"
    flow_run = hub.flow_run(run_id)
    assert flow_run["parameters"]["tool"] == TOOL
    assert flow_run["name"] == f"{TOOL} {job['id'][:4]}"


def test_prefects_api_runs_the_deployment_as_its_ui_does(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"tool": TOOL, "arguments": ARGUMENTS}, "state": {"type": "SCHEDULED"}},
        ).json()
    assert hub.flow_run(made["id"])["state"]["name"] == "Completed"
    assert job_of_run(hub, made["id"])["status"] == "completed"


def test_prefect_refuses_a_run_without_a_tool(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()
        refused = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", json={})
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": {"tool": ""}}
        ).json()
    assert refused.status_code == 409
    assert "'tool' is a required property" in refused.text
    state = hub.flow_run(made["id"])["state"]
    assert (state["name"], state["message"]) == ("Failed", "invalid-request: name what to run")


def test_the_form_offers_the_tools_of_system_servers(hub: Hub) -> None:
    def look() -> list[str] | None:
        with hub.prefect() as prefect:
            form = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()["parameter_openapi_schema"]
        return offered_tools(form) or None

    assert TOOL in until(look, 60, "the tools in the form")


def test_a_run_shows_in_its_log_what_became_of_it_and_nothing_of_the_call(hub: Hub) -> None:
    secret = "Etc/GMT+7"
    job = hub.ended(hub.submit({"name": TOOL, "arguments": {"timezone": secret}})["id"])

    def look() -> list[str] | None:
        asked = {"logs": {"flow_run_id": {"any_": [job["flow_run_id"]]}}, "sort": "TIMESTAMP_ASC"}
        with hub.prefect() as prefect:
            lines = [line["message"] for line in prefect.post("/logs/filter", json=asked).raise_for_status().json()]
        return lines if len(lines) == 3 else None

    claimed, called, ended = until(look, 30, "the run's log")
    assert claimed == f"claimed attempt 1 of 3 of job {job['id']}"
    assert called.startswith("called in ")
    assert ended == "ended: completed"


def test_deploying_removes_the_deployments_of_a_former_release(hub: Hub) -> None:
    with hub.prefect() as prefect:
        now = prefect.get("/deployments/name/refresh-catalog/refresh-catalog").json()
        copied = ("flow_id", "entrypoint", "work_pool_name", "parameter_openapi_schema")
        former = {"name": "nexus", "schedules": [{"schedule": {"interval": 300}}]} | {key: now[key] for key in copied}
        own = former | {"name": "somebody's own", "schedules": []}
        for one in (former, own):
            prefect.post("/deployments/", json=one).raise_for_status()
        assert hub.run("deploy").code == 0
        assert prefect.get("/deployments/name/refresh-catalog/nexus").status_code == 404
        kept = prefect.get("/deployments/name/refresh-catalog/somebody's own").raise_for_status().json()
        prefect.delete(f"/deployments/{kept['id']}").raise_for_status()


def test_retrying_an_ended_run_in_prefect_does_nothing(hub: Hub) -> None:
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()
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
        deployment = prefect.get("/deployments/name/invoke-tool/invoke-tool").json()
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
        deployment = prefect.get("/deployments/name/fetch-resource/fetch-resource").json()
        schedule = {"schedule": {"cron": "0 0 1 1 *"}, "active": True, "parameters": {"server": "time"}}
        prefect.post(f"/deployments/{deployment['id']}/schedules", json=[schedule]).raise_for_status()
        prefect.patch(f"/deployments/{deployment['id']}", json={"tags": ["theirs"]}).raise_for_status()
        assert hub.run("deploy").code == 0
        after = prefect.get("/deployments/name/fetch-resource/fetch-resource").json()
    assert after["id"] == deployment["id"]
    assert [one["parameters"] for one in after["schedules"]] == [{"server": "time"}]
    assert after["tags"] == ["theirs"]
    assert after["parameter_openapi_schema"] == deployment["parameter_openapi_schema"]
