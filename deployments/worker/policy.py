"""The rules of what the worker runs: deployments of the hub's own flows, without commands and steps."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from deployments.registry import DEPLOYED, Deployed
from deployments.version import code_version, is_of_another_release

KNOWN_SECONDS = 5.0
"""Seconds that a permit holds without a look at its deployment; only the hub's own flows run under it in any case."""
_BY_ENTRYPOINT = {deployed.entrypoint: deployed for deployed in DEPLOYED}


class Refused(Exception):
    """A run that asks for something else than the hub's own flows."""


class OfAnotherRelease(Exception):
    """A run that this release can't carry out, of a deployment that another release of the hub has made."""


@dataclass(frozen=True, slots=True)
class RunPermit:
    """A deployment that may run."""

    deployed: Deployed
    limited: bool
    """Its deployment has a limit of runs at once, whose slots Prefect gives out with the state Pending."""
    of_another_release: bool
    parameters: frozenset[str]
    since: float


class RunPolicy:
    """The deployments that were found to be the hub's own, each for a short time."""

    def __init__(self) -> None:
        self._known: dict[UUID, RunPermit] = {}
        code_version()  # read now, and kept: later the files may be those of another release

    async def permit(self, flow_run: FlowRun, client: PrefectClient, template: dict[str, Any]) -> RunPermit:
        """Permit a run of the pool with that job template.

        Raises:
            Refused: it names another entrypoint, steps or a command.
            OfAnotherRelease: its flow, or a parameter of it, is not known here, as it may be to others.
        """
        if flow_run.deployment_id is None:
            raise Refused("a worker of type nexus runs deployments only")
        if _has_command(template) or (flow_run.job_variables or {}).get("command"):
            raise Refused("a worker of type nexus runs no commands")
        known = self._known.get(flow_run.deployment_id)
        if known is None or time.monotonic() - known.since > KNOWN_SECONDS:
            known = self._known[flow_run.deployment_id] = await _read(flow_run.deployment_id, client)
        if known.of_another_release and (unknown := flow_run.parameters.keys() - known.parameters):
            raise OfAnotherRelease(f"the parameters {sorted(unknown)} are not known to this release")
        return known


async def _read(deployment_id: UUID, client: PrefectClient) -> RunPermit:
    try:
        deployment = await client.read_deployment(deployment_id)
    except ObjectNotFound:
        raise Refused("the deployment of this run is gone") from None
    if (deployment.job_variables or {}).get("command"):
        raise Refused("a worker of type nexus runs no commands")
    deployed = _BY_ENTRYPOINT.get(deployment.entrypoint or "")
    of_another_release = is_of_another_release(deployment.version)
    if deployment.pull_steps or (deployed is None and not of_another_release):
        raise Refused("this entrypoint is not on the worker's list")
    if deployed is None:
        raise OfAnotherRelease("this entrypoint is not known to this release")
    parameters = frozenset(deployed.flow().parameters.properties)
    limited = deployment.global_concurrency_limit is not None
    return RunPermit(deployed, limited, of_another_release, parameters, time.monotonic())


def _has_command(template: dict[str, Any]) -> bool:
    """True if a pool's template brings a command of its own."""
    variable = template.get("variables", {}).get("properties", {}).get("command", {})
    fixed = template.get("job_configuration", {}).get("command")
    return bool(variable.get("default")) or fixed not in (None, "", "{{ command }}")
