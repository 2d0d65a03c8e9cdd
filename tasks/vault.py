"""Tasks that open what the vault holds, and that seal it anew."""

from uuid import UUID

from nexus_hub.execution.attempt import Attempt
from nexus_hub.orchestration.mirror import OnProgress
from nexus_hub.vault.rotation import LOCK, RotationPlan, RotationReport
from tasks.context import current
from tasks.failures import keep_failure
from tasks.options import DATABASE, DATABASE_LONGEST, hub_task

ROTATION_LOCK = LOCK


@hub_task("open-credentials", retry=DATABASE)
@keep_failure
async def open_credentials(attempt: Attempt) -> None:
    """Open the server's credentials into the attempt, which keeps them to itself."""
    await current().execution.open(attempt)


@hub_task("plan-rotation", retry=DATABASE)
async def plan_rotation(old_key_id: str, new_key_id: str) -> RotationPlan:
    """Hold the ids against the keyring."""
    return await current().rotation.plan(old_key_id or None, new_key_id or None)


@hub_task("begin-rotation", retry=DATABASE)
async def begin_rotation(plan: RotationPlan, flow_run_id: UUID) -> UUID:
    """Note the rotation's start, or go on with one that was interrupted; its id."""
    return await current().rotation.begin(plan, flow_run_id)


@hub_task("promote-key")
async def promote_key(plan: RotationPlan) -> bool:
    """Let new values be sealed under the new key from here on; False where only the operator can do that."""
    return await current().rotation.promote(plan)


@hub_task("reseal-values")
async def reseal_values(rotation_id: UUID, plan: RotationPlan, on_progress: OnProgress) -> list[str]:
    """Back up and seal anew, row by row; the flow's own retries go on where it stopped."""
    return await current().rotation.reseal(rotation_id, plan, on_progress)


@hub_task("verify-values")
async def verify_values(rotation_id: UUID, plan: RotationPlan) -> tuple[int, list[str]]:
    """Open every value under the new key."""
    return await current().rotation.verify(rotation_id, plan)


@hub_task("finish-rotation", retry=DATABASE_LONGEST)
async def finish_rotation(rotation_id: UUID, updated: int, errors: list[str], promoted: bool) -> RotationReport:
    """Note the rotation's end."""
    return await current().rotation.finish(rotation_id, updated, errors, promoted=promoted)


@hub_task("purge-backups", retry=DATABASE)
async def purge_backups() -> int:
    """Throw away old backups of rotations."""
    return await current().rotation.purge_backups()
