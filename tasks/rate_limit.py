"""Tasks that keep to a server's limit."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.calls.retries import DATABASE_PAUSES
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.attempt import Attempt
from tasks.context import current
from tasks.failures import codes_only, noted, retried_for


@task(
    name="take-rate-limit",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(DATABASE_PAUSES),
    retry_delay_seconds=list(DATABASE_PAUSES),
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
@noted
async def take_rate_limit(attempt: Attempt) -> float:
    """Take the call from the server's limit; seconds to wait, or 0."""
    return await current().execution.admit(attempt)
