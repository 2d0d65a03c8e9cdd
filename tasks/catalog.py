"""Tasks that read upstream servers' catalogs anew."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.servers.refresh import Due, RefreshReport
from tasks.context import current
from tasks.failures import codes_only, retried_for


@task(
    name="find-due-servers",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def find_due_servers(server: str) -> list[Due]:
    """The server of that name or id, or all that are due."""
    return await current().refresher.find_due(server or None)


@task(
    name="refresh-server",
    task_run_name="refresh-server {due.name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def refresh_server(due: Due) -> RefreshReport:
    """Read what one server offers, and store it."""
    return await current().refresher.refresh_due(due)
