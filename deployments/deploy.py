"""Tell Prefect of the work pool and the deployments. Runs as often as you like."""

import asyncio
import logging
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from deployments.forms import build_form, describe
from deployments.registry import DEPLOYED, ENTRYPOINTS, POOL, WORKER_TYPE, Deployed
from deployments.version import code_version, find_later_release, is_of_another_release
from deployments.worker.worker import NexusWorker
from nexus_hub.settings import load
from nexus_hub.telemetry.logs import configure_logging

logger = logging.getLogger("nexus_hub.deploy")
FORMER_NAME = "nexus"
"""All deployments had this name once."""


async def deploy() -> None:
    """Create or update the work pool `nexus` and all deployments."""
    async with get_client() as client:
        await _ensure_pool(client)
        await _tell_of_later_release(client)
        await _remove_former(client)  # first: once all versions match, nothing looks for them again
        await _remove_unknown(client)
        for deployed in DEPLOYED:
            await _deploy(client, deployed)


async def _ensure_pool(client: PrefectClient) -> None:
    pool = WorkPoolCreate(
        name=POOL,
        type=WORKER_TYPE,
        description="Runs the hub's flows inside a warm process.",
        base_job_template=NexusWorker.get_default_base_job_template(),
    )
    try:
        await client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


async def _tell_of_later_release(client: PrefectClient) -> None:
    """Say that a later release's deployments are replaced, as who goes back to this one wants it."""
    names = DeploymentFilter(name=DeploymentFilterName(any_=[one.name for one in DEPLOYED]))
    found = await client.read_deployments(deployment_filter=names)
    if later := find_later_release(one.version for one in found):
        logger.warning("the deployments of nexus-hub %s, a later release, are replaced by this one's", later)


async def _deploy(client: PrefectClient, deployed: Deployed) -> None:
    """Create a deployment; of one that is there only what the code says is renewed.

    Creating it anew would take away the schedules, tags and limits that people have given it.
    """
    flow = deployed.flow()
    code: dict[str, Any] = {
        "description": describe(flow),
        "version": code_version(),
        "entrypoint": deployed.entrypoint,
        "work_pool_name": POOL,
        "pull_steps": [],
        "enforce_parameter_schema": True,
    }
    try:
        known = await client.read_deployment_by_name(f"{deployed.name}/{deployed.name}")
    except ObjectNotFound:
        flow_id = await client.create_flow(flow)
        await client.create_deployment(
            flow_id=flow_id,
            name=deployed.name,
            tags=list(deployed.tags),
            schedules=_schedules(deployed),
            parameter_openapi_schema=build_form(deployed),
            **code,
        )
    else:
        form = build_form(deployed, known.parameter_openapi_schema)
        await client.update_deployment(
            known.id, DeploymentUpdate(tags=known.tags, parameter_openapi_schema=form, **code)
        )
    logger.info("deployed %s", deployed.name)


async def _remove_former(client: PrefectClient) -> None:
    """Remove the deployments of a former release: their schedules would run beside those of the new ones."""
    named = DeploymentFilter(name=DeploymentFilterName(any_=[FORMER_NAME]))
    for former in await client.read_deployments(deployment_filter=named):
        if former.entrypoint in ENTRYPOINTS:
            await client.delete_deployment(former.id)
            logger.info("removed the deployment %s of %s", former.name, former.entrypoint)


async def _remove_unknown(client: PrefectClient) -> None:
    """Remove what another release has deployed and no worker of this one can run: it would make runs in vain.

    That is so after the way back from an upgrade, and where a flow is no more. What people deploy has no such version.
    """
    in_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    for found in await client.read_deployments(work_pool_filter=in_pool):
        if found.entrypoint not in ENTRYPOINTS and is_of_another_release(found.version):
            await client.delete_deployment(found.id)
            logger.info("removed %s, which this release does not have", found.name)


def _schedules(deployed: Deployed) -> list[DeploymentScheduleCreate]:
    schedule: CronSchedule | IntervalSchedule
    if deployed.cron is not None:
        schedule = CronSchedule(cron=deployed.cron, timezone="UTC")
    elif deployed.every is not None:
        schedule = IntervalSchedule(interval=deployed.every, timezone="UTC")
    else:
        return []
    return [DeploymentScheduleCreate(schedule=schedule, active=deployed.active)]


def main() -> None:
    """Run `deploy`."""
    settings = load()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(deploy())


if __name__ == "__main__":
    main()
