"""Tasks that open what the vault holds."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.jobs.execution import Attempt
from tasks.context import current
from tasks.failures import codes_only, noted, retried_for


@task(
    name="open-credentials",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
@noted
async def open_credentials(attempt: Attempt) -> None:
    """Open the server's credentials into the attempt, which keeps them to itself."""
    await current().execution.open(attempt)
