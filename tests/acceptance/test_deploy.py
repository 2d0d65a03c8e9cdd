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
    return {entrypoint: one["updated"] for entrypoint, one in deployments(hub).items()}


def ensure(hub: Hub) -> None:
    """Do what `up` does once Prefect answers."""
    done = run_command([sys.executable, "-P", "-m", "deployments.ensure"], hub.prefect_environment)
    assert done.code == 0, done.err


def test_deployments_that_have_not_changed_are_not_sent_again(hub: Hub) -> None:
    before = deployments(hub)
    assert {entrypoint: one["version"] for entrypoint, one in before.items()} == {
        one.entrypoint: code_version() for one in DEPLOYED
    }
    ensure(hub)
    assert updates(hub) == {entrypoint: one["updated"] for entrypoint, one in before.items()}


def test_a_deployment_of_other_code_is_sent_again(hub: Hub) -> None:
    entrypoint = DEPLOYED[0].entrypoint
    with hub.prefect() as prefect:
        changed = {"version": "0.0.9+other", "description": "of another time"}
        prefect.patch(f"/deployments/{deployments(hub)[entrypoint]['id']}", json=changed).raise_for_status()
    before = updates(hub)
    ensure(hub)
    assert updates(hub)[entrypoint] > before[entrypoint]
    sent = deployments(hub)[entrypoint]
    assert sent["version"] == code_version()
    assert sent["description"] != "of another time"
