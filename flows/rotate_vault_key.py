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
from nexus_hub.telemetry.text import LONGEST_LINE, markdown
from tasks import vault
from tasks.vault import RotationReport


@flow(
    name="rotate-vault-key",
    flow_run_name=lambda: run_name("to {new_key_id}", otherwise="to the next key"),
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
        return RotationPage(await vault.rotate(plan, run.on_progress, UUID(flow_run.id)))

    return await run_maintenance("key_rotation", job_id, steps)


@dataclass(frozen=True, slots=True)
class RotationPage:
    """Page on a rotation that has come to its end."""

    report: RotationReport

    def as_result(self) -> dict[str, Any]:
        """Give the row's result."""
        report = self.report
        return asdict(report) | {"rotation_id": str(report.rotation_id), "advice": report.advice}

    def as_markdown(self) -> str:
        """Write the artifact."""
        report = self.report
        facts = {
            "from": report.old_key_id or "all other keys",
            "to": report.new_key_id,
            "sealed anew and verified": report.updated,
            "left": len(report.errors),
            "seconds": f"{report.seconds:.1f}",
        }
        lines = "".join(f"\n- {markdown(line, longest=LONGEST_LINE)}" for line in report.errors[:100])
        advice = report.advice or "New values are sealed under it too."
        return f"# Key rotation\n\n{facts_table(facts)}\n{lines}\n\n{advice}\n"

    def summary(self) -> str:
        """Write the message of the run's state."""
        return f"{self.report.updated} values under key {self.report.new_key_id}, {len(self.report.errors)} left"

    def problem(self) -> RunProblem | None:
        """Name the values that could not be sealed anew."""
        return RunProblem("rotation-incomplete", f"{self.summary()}.") if self.report.errors else None
