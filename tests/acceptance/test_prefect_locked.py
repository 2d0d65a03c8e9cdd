"""Prefect's API is open by default; the hub's is not, and its worker runs nothing but the hub's flows."""

import httpx
import pytest

from tests.fixtures.hub import Hub

pytestmark = pytest.mark.stack
TOOL = {"tool": "time__get_current_time", "arguments": {"timezone": "UTC"}}


def test_prefects_api_refuses_who_does_not_authenticate(hub: Hub) -> None:
    for auth in (None, ("admin", "guess")):
        assert httpx.post(f"{hub.prefect_url}/deployments/filter", json={}, auth=auth).status_code == 401
        assert httpx.get(f"{hub.prefect_url}/admin/version", auth=auth).status_code == 401
    assert httpx.get(f"{hub.prefect_url}/admin/version", auth=hub.prefect_auth).is_success
    assert (hub.home / "prefect.auth").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path", ["deployments/filter", "flow_runs/"])
def test_a_preflight_from_a_foreign_origin_is_refused(hub: Hub, path: str) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{hub.prefect_url}/{path}", headers=headers)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_a_run_with_a_command_is_not_executed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    proof = tmp_path_factory.mktemp("proof") / "was-here"
    with hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/invoke-tool/nexus").json()
        made = prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": TOOL, "job_variables": {"command": f"touch {proof}"}},
        ).json()
    state = hub.flow_run(made["id"])["state"]
    assert state["type"] == "CRASHED"
    assert "runs no commands" in state["message"]
    assert not proof.exists()


def test_a_run_of_another_entrypoint_is_not_executed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("foreign")
    proof = directory / "was-here"
    (directory / "foreign_flow.py").write_text(
        f"from pathlib import Path\nfrom prefect import flow\n\n@flow\ndef hello():\n    Path({str(proof)!r}).touch()\n"
    )
    with hub.prefect() as prefect:
        flow = prefect.post("/flows/", json={"name": "hello"}).json()
        for name, entrypoint, steps in (
            ("by-file", f"{directory}/foreign_flow.py:hello", None),
            ("by-module", "os.system", None),
            (
                "by-steps",
                "flows.invoke.invoke_tool",
                [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}],
            ),
        ):
            deployment = prefect.post(
                "/deployments/",
                json={
                    "name": name,
                    "flow_id": flow["id"],
                    "entrypoint": entrypoint,
                    "work_pool_name": "nexus",
                    "pull_steps": steps,
                },
            ).json()
            made = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).json()
            state = hub.flow_run(made["id"])["state"]
            assert state["type"] == "CRASHED", name
            assert "not on the worker's list" in state["message"]
            prefect.delete(f"/deployments/{deployment['id']}")
    assert not proof.exists()
