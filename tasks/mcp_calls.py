"""Tasks that call upstream servers."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.calls.retries import UPSTREAM_PAUSES
from nexus_hub.errors import UpstreamUnavailable
from nexus_hub.execution.attempt import Attempt
from tasks.context import current
from tasks.failures import codes_only, noted, retried_for


@task(
    name="call-upstream",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(UPSTREAM_PAUSES),
    retry_delay_seconds=list(UPSTREAM_PAUSES),
    retry_condition_fn=retried_for(UpstreamUnavailable),
)
@codes_only
@noted
async def call_upstream(attempt: Attempt) -> None:
    """Send the request upstream; the attempt keeps the answer."""
    await current().execution.call(attempt)
