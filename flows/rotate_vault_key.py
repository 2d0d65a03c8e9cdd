"""Flow `rotate-vault-key`: seal every value of the vault anew under another key."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.artifacts import facts_table
from flows.maintenance import HOOKS, MaintenanceRun, RunProblem, run_maintenance
from flows.parameters import ANY_KEY, KeyId
from flows.this_run import run_name
from tasks import vault


@flow(
    name="rotate-vault-key",
    flow_run_name=lambda: run_name("new_key_id", otherwise="next"),
    persist_result=False,
    log_prints=False,
    retries=2,
    retry_delay_seconds=60,
    timeout_seconds=6 * 3600,
    **HOOKS,
)
async def rotate_vault_key(
    old_key_id: KeyId = ANY_KEY,
    new_key_id: KeyId = ANY_KEY,
    job_id: UUID | None = None,
) -> "State[None]":
    """Seal every value of the vault anew under another key, while all of them stay readable.

    Give the ids of keys, 8 hexadecimal digits as `nexus-hub vault status` shows them; keys themselves are never typed
    here. The new key has to be in the hub's keyring, or in VAULT_NEW_KEY. A run that was killed is resumed by the next.

    Args:
        old_key_id: Only what is sealed under this key; empty means all that is not under the new one.
        new_key_id: The key to go to; empty means the one key of the ring that seals nothing yet.
        job_id: Filled by the hub: the stored row that this run carries out.
    """

    async def steps(run: MaintenanceRun) -> RotationPage:
        plan = await vault.plan_rotation(old_key_id, new_key_id)
        await run.begin({"old_key_id": plan.old_key_id, "new_key_id": plan.new_key_id})
        rotation = await vault.begin_rotation(plan, UUID(flow_run.id))
        promoted = await vault.promote_key(plan)
        left = await vault.reseal_values(rotation, plan, run.on_progress)
        updated, unverified = await vault.verify_values(rotation, plan)
        report = await vault.finish_rotation(rotation, updated, left + unverified, promoted)
        return RotationPage(**asdict(report), advice=report.advice)

    return await run_maintenance("key_rotation", job_id, steps, lock=vault.ROTATION_LOCK)


@dataclass(frozen=True, slots=True)
class RotationPage:
    """How the rotation ended: a report of the library's, and what it advises."""

    rotation_id: UUID
    old_key_id: str | None
    new_key_id: str
    updated: int
    errors: list[str]
    seconds: float
    promoted: bool
    advice: str | None

    def as_result(self) -> dict[str, Any]:
        """The row's result."""
        return asdict(self) | {"rotation_id": str(self.rotation_id)}

    def as_markdown(self) -> str:
        """The artifact."""
        facts = {
            "from": self.old_key_id or "all other keys",
            "to": self.new_key_id,
            "sealed anew and verified": self.updated,
            "left": len(self.errors),
            "seconds": f"{self.seconds:.1f}",
        }
        lines = "".join(f"\n- {line}" for line in self.errors[:100])
        advice = self.advice or "New values are sealed under it too."
        return f"# Key rotation\n\n{facts_table(facts)}\n{lines}\n\n{advice}\n"

    def summary(self) -> str:
        """The message of the run's state."""
        return f"{self.updated} values under key {self.new_key_id}, {len(self.errors)} left"

    def problem(self) -> RunProblem | None:
        """Values that could not be sealed anew."""
        return RunProblem("rotation-incomplete", f"{self.summary()}.") if self.errors else None
