"""Tasks that open what the vault holds, and that seal it anew."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.attempt import Attempt
from nexus_hub.orchestration.mirror import OnProgress
from nexus_hub.vault.rotation import LOCK, RotationPlan, RotationReport
from tasks.context import current
from tasks.failures import codes_only, noted, retried_for

ROTATION_LOCK = LOCK


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


@task(
    name="plan-rotation",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def plan_rotation(old_key_id: str, new_key_id: str) -> RotationPlan:
    """Hold the ids against the keyring."""
    return await current().rotation.plan(old_key_id or None, new_key_id or None)


@task(
    name="begin-rotation",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def begin_rotation(plan: RotationPlan, flow_run_id: UUID) -> UUID:
    """Note the rotation's start, or go on with one that was interrupted; its id."""
    return await current().rotation.begin(plan, flow_run_id)


@task(name="promote-key", cache_policy=NO_CACHE, persist_result=False)
@codes_only
async def promote_key(plan: RotationPlan) -> bool:
    """Let new values be sealed under the new key from here on; False where only the operator can do that."""
    return await current().rotation.promote(plan)


@task(name="reseal-values", cache_policy=NO_CACHE, persist_result=False)
@codes_only
async def reseal_values(rotation_id: UUID, plan: RotationPlan, on_progress: OnProgress) -> list[str]:
    """Back up and seal anew, row by row; the flow's own retries go on where it stopped."""
    return await current().rotation.reseal(rotation_id, plan, on_progress)


@task(name="verify-values", cache_policy=NO_CACHE, persist_result=False)
@codes_only
async def verify_values(rotation_id: UUID, plan: RotationPlan) -> tuple[int, list[str]]:
    """Open every value under the new key."""
    return await current().rotation.verify(rotation_id, plan)


@task(
    name="finish-rotation",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=5,
    retry_delay_seconds=[0.5, 1, 2, 4, 8],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def finish_rotation(rotation_id: UUID, updated: int, errors: list[str], promoted: bool) -> RotationReport:
    """Note the rotation's end."""
    return await current().rotation.finish(rotation_id, updated, errors, promoted=promoted)


@task(
    name="purge-backups",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 2],
    retry_condition_fn=retried_for(DatabaseUnavailable),
)
@codes_only
async def purge_backups() -> int:
    """Throw away old backups of rotations."""
    return await current().rotation.purge_backups()
