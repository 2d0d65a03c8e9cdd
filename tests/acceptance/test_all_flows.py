"""Every flow in every way: Prefect's API as its UI calls it, a schedule, the thin API, Prefect's command line.

Each leaves a completed run with an artifact, and a row of `job_results`.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fixtures import forks
from tests.fixtures.hub import Hub, until
from tests.fixtures.upstreams import UPSTREAMS

pytestmark = pytest.mark.stack
OFFERS = forks.command(UPSTREAMS / "offers.py")
URI = "offers://greeting"


@dataclass(frozen=True)
class Case:
    """A flow: what a person types into its form, and the request that starts it through the hub's API."""

    flow: str
    parameters: dict[str, Any]
    path: str
    body: dict[str, Any]
    row: str | None = None
    """The type of the row that the run leaves."""


CASES = [
    Case("invoke-tool", {"tool": "offers__echo"}, "/v1/jobs", {"name": "offers__echo"}, "tool_invoke"),
    Case(
        "fetch-resource",
        {"server": "offers", "uri": URI},
        "/v1/jobs",
        {"job_type": "resource_fetch", "name": {"server": "offers", "uri": URI}},
        "resource_fetch",
    ),
    Case(
        "execute-prompt",
        {"prompt": "offers__greet"},
        "/v1/jobs",
        {"job_type": "prompt_execute", "name": "offers__greet"},
        "prompt_execute",
    ),
    Case("refresh-catalog", {"server": "offers"}, "/internal/refresh-catalog", {"server": "offers"}, "cache_refresh"),
    Case("rotate-vault-key", {}, "/internal/vault-rotate", {}, "key_rotation"),
    Case("cleanup-jobs", {"days_completed": 3000}, "/internal/cleanup-jobs", {"days_completed": 3000}, "job_cleanup"),
]
FLOWS = [case.flow for case in CASES]


@pytest.fixture(scope="module")
def busy(spare_hub: Hub) -> Hub:
    """A hub with a second key, whose keys are rotated to and fro."""
    assert spare_hub.run("server", "add", "offers", "--command", *OFFERS).code == 0
    assert spare_hub.run("vault", "keygen", "--add").code == 0
    return spare_hub


def keys(hub: Hub) -> tuple[str, str]:
    """The ids of the primary key, and of the other one."""
    status = hub.run("vault", "status", "--json").json()
    other = next(key["key_id"] for key in status["keys"] if not key["primary"])
    return status["primary_key_id"], other


def parameters(hub: Hub, case: Case) -> dict[str, Any]:
    return {"new_key_id": keys(hub)[1]} if case.flow == "rotate-vault-key" else case.parameters


def deployment(hub: Hub, case: Case) -> dict[str, Any]:
    with hub.prefect() as prefect:
        found: dict[str, Any] = prefect.get(f"/deployments/name/{case.flow}/{case.flow}").raise_for_status().json()
    return found


def require_traces(hub: Hub, case: Case, flow_run_id: str) -> None:
    """The run has completed, with an artifact, and over its row."""
    run = hub.flow_run(flow_run_id, seconds=60)
    assert run["state"]["name"] == "Completed", run["state"]
    assert not run["name"].startswith(case.flow), "Prefect shows the flow beside it"
    with hub.prefect() as prefect:
        asked = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        (artifact,) = prefect.post("/artifacts/filter", json=asked).raise_for_status().json()
    assert artifact["type"] == "markdown"
    assert artifact["data"].startswith("# ")
    with hub.api() as api:
        rows = api.get("/v1/jobs", params={"limit": 1000}).json()["items"]
    (row,) = [row for row in rows if row["flow_run_id"] == flow_run_id]
    assert (row["job_type"], row["status"]) == (case.row, "completed")


@pytest.mark.parametrize("case", CASES, ids=FLOWS)
def test_prefects_ui_starts_it(busy: Hub, case: Case) -> None:
    with busy.prefect() as prefect:
        made = prefect.post(
            f"/deployments/{deployment(busy, case)['id']}/create_flow_run",
            json={"parameters": parameters(busy, case), "state": {"type": "SCHEDULED"}},
        )
    require_traces(busy, case, made.raise_for_status().json()["id"])


@pytest.mark.parametrize("case", CASES, ids=FLOWS)
def test_prefects_command_line_starts_it(busy: Hub, case: Case) -> None:
    given = [part for name, value in parameters(busy, case).items() for part in ("-p", f"{name}={json.dumps(value)}")]
    require_traces(busy, case, busy.prefect_run(f"{case.flow}/{case.flow}", *given))


@pytest.mark.parametrize("case", CASES, ids=FLOWS)
def test_the_thin_api_starts_it(busy: Hub, case: Case) -> None:
    body = {"new_key_id": keys(busy)[1]} if case.flow == "rotate-vault-key" else case.body
    with busy.api() as api:
        answer = api.post(case.path, json=body).raise_for_status()
        newest = api.get("/v1/jobs", params={"limit": 1}).json()["items"][0]
    if case.path == "/v1/jobs":
        newest = busy.ended(answer.json()["id"])
    require_traces(busy, case, newest["flow_run_id"])


def test_a_schedule_starts_each(busy: Hub) -> None:
    """It would not with SQLAlchemy 2.1."""
    made: list[tuple[str, str]] = []
    with busy.prefect() as prefect:
        for case in CASES:
            schedule = {"schedule": {"cron": "* * * * *"}, "active": True, "parameters": parameters(busy, case)}
            found = deployment(busy, case)["id"]
            answer = prefect.post(f"/deployments/{found}/schedules", json=[schedule]).raise_for_status().json()
            made.append((found, answer[0]["id"]))
        try:
            for case, (found, _) in zip(CASES, made, strict=True):

                def look(deployment_id: str = found) -> str | None:
                    asked = {
                        "deployments": {"id": {"any_": [deployment_id]}},
                        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
                        "limit": 200,
                    }
                    runs = prefect.post("/flow_runs/filter", json=asked).json()
                    return next((r["id"] for r in runs if r["auto_scheduled"] and r["state"]["message"] != IDLE), None)

                flow_run_id = until(look, 180, f"a scheduled run of {case.flow}")
                require_traces(busy, case, flow_run_id)
        finally:
            for found, schedule_id in made:
                prefect.delete(f"/deployments/{found}/schedules/{schedule_id}").raise_for_status()
                # Its other runs went with this one's; of what has just been changed they are made again at once.
                prefect.patch(f"/deployments/{found}", json={"paused": False}).raise_for_status()


IDLE = "nothing to do"


def test_the_schedules_are_as_documented(busy: Hub) -> None:
    seen = {}
    with busy.prefect() as prefect:
        for flow in ("refresh-catalog", "rotate-vault-key", "cleanup-jobs", "check-jobs", "refresh-logins"):
            (one,) = prefect.get(f"/deployments/name/{flow}/{flow}").json()["schedules"]
            seen[flow] = (one["schedule"].get("cron") or one["schedule"]["interval"], one["active"])
    assert seen == {
        "refresh-catalog": (300.0, True),
        "rotate-vault-key": (90 * 86400.0, False),
        "cleanup-jobs": ("0 2 * * *", True),
        "check-jobs": (3600.0, True),
        "refresh-logins": (300.0, True),
    }


def test_the_check_says_how_large_the_table_is(busy: Hub) -> None:
    with busy.prefect() as prefect:
        found = prefect.get("/deployments/name/check-jobs/check-jobs").json()["id"]
        made = prefect.post(f"/deployments/{found}/create_flow_run", json={}).json()
    state = busy.flow_run(made["id"])["state"]
    assert state["name"] == "Completed"
    assert state["message"].startswith("OK (")


def test_without_logins_there_are_none_to_renew(busy: Hub) -> None:
    with busy.prefect() as prefect:
        found = prefect.get("/deployments/name/refresh-logins/refresh-logins").json()["id"]
        made = prefect.post(f"/deployments/{found}/create_flow_run", json={}).json()
    state = busy.flow_run(made["id"])["state"]
    assert (state["name"], state["message"]) == ("Completed", IDLE)


@pytest.mark.parametrize(
    ("flow", "parameters", "said"),
    [
        ("cleanup-jobs", {"days_completed": 3651}, "3650"),
        ("cleanup-jobs", {"days_orphaned": -1}, "minimum"),
        ("cleanup-jobs", {"days_orphaned": "many"}, "integer"),
        ("rotate-vault-key", {"new_key_id": "ab" * 32}, "does not match"),
    ],
)
def test_prefect_refuses_bad_parameters_before_it_stores_them(
    busy: Hub, flow: str, parameters: dict[str, Any], said: str
) -> None:
    with busy.prefect() as prefect:
        found = prefect.get(f"/deployments/name/{flow}/{flow}").json()["id"]
        answer = prefect.post(f"/deployments/{found}/create_flow_run", json={"parameters": parameters})
    assert answer.status_code == 409, answer.text
    assert said in answer.text


def test_a_refresh_of_an_unknown_server_says_so(busy: Hub) -> None:
    with busy.prefect() as prefect:
        found = prefect.get("/deployments/name/refresh-catalog/refresh-catalog").json()["id"]
        made = prefect.post(f"/deployments/{found}/create_flow_run", json={"parameters": {"server": "nothing"}}).json()
    state = busy.flow_run(made["id"])["state"]
    assert state["name"] == "Failed"
    assert state["message"].startswith("not-found: There is no server of that name or id")
