"""Tell Prefect of the work pool and the deployments. Runs as often as you like."""

import asyncio
import logging
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.callables import parameter_schema

from deployments.registry import DEPLOYED, DEPLOYMENT, POOL, WORKER_TYPE, Deployed
from deployments.version import code_version
from deployments.worker.worker import NexusWorker
from nexus_hub.settings import load
from nexus_hub.telemetry.logs import configure_logging

logger = logging.getLogger("nexus_hub.deploy")


async def deploy() -> None:
    """Create or update the work pool `nexus` and all deployments."""
    async with get_client() as client:
        await _ensure_pool(client)
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


async def _deploy(client: PrefectClient, deployed: Deployed) -> None:
    """Create a deployment; of one that is there only what the code says is renewed.

    Creating it anew would take away the schedules, tags and limits that people have given it.
    """
    flow = deployed.flow()
    code: dict[str, Any] = {
        "description": flow.description,
        "version": code_version(),
        "entrypoint": deployed.entrypoint,
        "work_pool_name": POOL,
        "pull_steps": [],
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
    }
    try:
        known = await client.read_deployment_by_name(f"{flow.name}/{DEPLOYMENT}")
    except ObjectNotFound:
        flow_id = await client.create_flow(flow)
        await client.create_deployment(
            flow_id=flow_id, name=DEPLOYMENT, tags=list(deployed.tags), schedules=_schedules(deployed), **code
        )
    else:
        await client.update_deployment(known.id, DeploymentUpdate(tags=known.tags, **code))
    logger.info("deployed %s/%s", flow.name, DEPLOYMENT)


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
