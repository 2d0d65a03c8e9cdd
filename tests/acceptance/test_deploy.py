"""Deployments: sent to Prefect by `up` only where Prefect lacks them as the code makes them."""

import sys
from typing import Any

import pytest

from deployments.registry import DEPLOYED, POOL
from deployments.version import code_version
from tests.fixtures.hub import Hub, run_command

pytestmark = pytest.mark.stack


def deployments(hub: Hub) -> dict[str, dict[str, Any]]:
    """Those of the work pool, by their entrypoints."""
    with hub.prefect() as prefect:
        found = prefect.post("/deployments/filter", json={"work_pools": {"name": {"any_": [POOL]}}}).json()
        return {one["entrypoint"]: one for one in found}


def updates(hub: Hub) -> dict[str, str]:
    """Times of the last update; that of `invoke-tool` is left out, whose form the worker keeps like the catalog."""
    found = deployments(hub).items()
    return {entrypoint: one["updated"] for entrypoint, one in found if one["name"] != "invoke-tool"}


def ensure(hub: Hub) -> None:
    """Do what `up` does once Prefect answers."""
    done = run_command([sys.executable, "-P", "-m", "deployments.ensure"], hub.prefect_environment)
    assert done.code == 0, done.err


def test_deployments_that_have_not_changed_are_not_sent_again(hub: Hub) -> None:
    before = deployments(hub)
    assert {entrypoint: one["version"] for entrypoint, one in before.items()} == {
        one.entrypoint: code_version() for one in DEPLOYED
    }
    sent = updates(hub)
    ensure(hub)
    assert updates(hub) == sent


def test_a_deployment_of_other_code_is_sent_again(hub: Hub) -> None:
    entrypoint = next(one.entrypoint for one in DEPLOYED if one.name == "check-jobs")
    with hub.prefect() as prefect:
        changed = {"version": "0.0.9+other", "description": "of another time"}
        prefect.patch(f"/deployments/{deployments(hub)[entrypoint]['id']}", json=changed).raise_for_status()
    before = updates(hub)
    ensure(hub)
    assert updates(hub)[entrypoint] > before[entrypoint]
    sent = deployments(hub)[entrypoint]
    assert sent["version"] == code_version()
    assert sent["description"] != "of another time"


def test_the_deployments_of_a_later_release_are_left_to_it_until_somebody_deploys(hub: Hub) -> None:
    entrypoint = next(one.entrypoint for one in DEPLOYED if one.name == "check-jobs")
    with hub.prefect() as prefect:
        later = {"version": "99.1.0+later", "description": "of a later release"}
        prefect.patch(f"/deployments/{deployments(hub)[entrypoint]['id']}", json=later).raise_for_status()
    before = updates(hub)
    ensure(hub)
    assert updates(hub) == before
    done = run_command([sys.executable, "-P", "-m", "deployments.deploy"], hub.prefect_environment)
    assert "the deployments of nexus-hub 99.1.0, a later release, are replaced" in done.out + done.err
    assert deployments(hub)[entrypoint]["version"] == code_version()


def test_what_another_release_alone_has_is_removed_and_what_people_deploy_stays(hub: Hub) -> None:
    with hub.prefect() as prefect:
        flow = prefect.post("/flows/", json={"name": "next"}).json()["id"]
        for name, version in (("theirs", "9.9.9+0123456789ab"), ("mine", "9.9.9")):
            body = {"name": name, "flow_id": flow, "entrypoint": "flows.next.do_next", "work_pool_name": POOL}
            prefect.post("/deployments/", json=body | {"version": version}).raise_for_status()
        done = run_command([sys.executable, "-P", "-m", "deployments.deploy"], hub.prefect_environment)
        assert done.code == 0, done.err
        found = prefect.post("/deployments/filter", json={"flows": {"id": {"any_": [flow]}}}).json()
        prefect.delete(f"/flows/{flow}").raise_for_status()
    assert [one["name"] for one in found] == ["mine"]
