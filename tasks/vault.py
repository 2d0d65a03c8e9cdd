"""Tasks that open what the vault holds, and that seal it anew."""

from uuid import UUID

from nexus_hub.execution.attempt import Attempt
from nexus_hub.steps import OnProgress
from nexus_hub.vault.rotation import RotationPlan, RotationReport
from tasks.context import current
from tasks.failures import codes_only, keep_failure
from tasks.options import DATABASE, hub_task
from tasks.steps import run_step_as_task

__all__ = ["RotationReport", "open_credentials", "plan_rotation", "purge_backups", "rotate"]


@hub_task("open-credentials", retry=DATABASE)
@keep_failure
async def open_credentials(attempt: Attempt) -> None:
    """Open the server's credentials into the attempt, which keeps them to itself."""
    await current().execution.open(attempt)


@hub_task("plan-rotation", retry=DATABASE)
async def plan_rotation(old_key_id: str, new_key_id: str) -> RotationPlan:
    """Hold the ids against the keyring."""
    return await current().rotation.plan(old_key_id or None, new_key_id or None)


@codes_only
async def rotate(plan: RotationPlan, on_progress: OnProgress, flow_run_id: UUID) -> RotationReport:
    """Seal every value anew, each step as a task of its own."""
    return await current().rotation.run(plan, on_progress, flow_run_id, step=run_step_as_task)


@hub_task("purge-backups", retry=DATABASE)
async def purge_backups() -> int:
    """Throw away old backups of rotations."""
    return await current().rotation.purge_backups()
