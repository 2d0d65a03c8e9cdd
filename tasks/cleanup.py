"""Tasks that clean up, and look at how large things are."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.jobs import monitoring
from nexus_hub.orchestration.cleanup import checked_days
from nexus_hub.orchestration.mirror import OnProgress
from tasks.context import current
from tasks.failures import codes_only, retried_for


@codes_only
async def check_days(days_completed: object, days_orphaned: object) -> None:
    """Refuse days outside the range; too small for a task run of its own."""
    checked_days("days_completed", days_completed)
    checked_days("days_orphaned", days_orphaned)


@task(
    name="fail-orphans",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def fail_orphans(days_orphaned: int) -> int:
    """Fail what has given no sign of life for so long, with a reason; how many that were."""
    return await current().cleanup.fail_orphans(days_orphaned)


@task(name="delete-ended-jobs", cache_policy=NO_CACHE, persist_result=False)
@codes_only
async def delete_ended(days_completed: int, on_progress: OnProgress) -> int:
    """Delete what ended that long ago, batch by batch; the flow's own retries go on where it stopped."""
    return await current().cleanup.delete_ended(days_completed, on_progress)


@task(name="delete-orphans", cache_policy=NO_CACHE, persist_result=False)
@codes_only
async def delete_orphaned(days_orphaned: int, on_progress: OnProgress) -> int:
    """Delete what failed as an orphan that long ago."""
    return await current().cleanup.delete_orphaned(days_orphaned, on_progress)


@task(
    name="purge-rate-limits",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def purge_rate_limits() -> int:
    """Delete the counts of calls that no limit looks at any more."""
    return await current().limiter.purge()


@task(
    name="read-alert",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def read_alert() -> dict[str, Any]:
    """Whether `job_results` has grown too large."""
    return await monitoring.table_alert(current().database)


@task(
    name="read-stats",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def read_stats() -> dict[str, Any]:
    """How many jobs there are of each state."""
    return await monitoring.stats(current().database)
