"""Tasks that open what the vault holds."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.jobs.execution import Attempt
from tasks.context import current
from tasks.failures import codes_only
from tasks.outcome import noted


@task(name="open-credentials", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[0.5, 2])
async def open_credentials(attempt: Attempt) -> None:
    """Open the server's credentials into the attempt, which keeps them to itself."""
    async with codes_only(), noted(attempt):
        await current().execution.open(attempt)
