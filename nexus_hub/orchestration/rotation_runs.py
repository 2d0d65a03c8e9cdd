"""Rotations as people start and watch them: a flow run each, whose row says how far it has come."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from nexus_hub.db.pool import Database
from nexus_hub.errors import RotationRunning
from nexus_hub.models import TERMINAL
from nexus_hub.orchestration.maintenance import Maintenance
from nexus_hub.orchestration.mirror import MIRROR
from nexus_hub.vault.rotation import Rotation, RotationPlan


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """Progress of the rotation that was started last; `total` is None until it is known."""

    state: Literal["none", "running", "done", "failed"]
    done: int = 0
    total: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    errors: tuple[str, ...] = ()


class RotationRuns:
    """Starts rotations, one at a time, and says how far the last one is; any process may be asked."""

    def __init__(self, database: Database, rotation: Rotation, maintenance: Maintenance) -> None:
        self._database = database
        self._rotation = rotation
        self._maintenance = maintenance

    async def start(self, plan: RotationPlan) -> None:
        """Start a rotation, and leave it to its flow run.

        Raises:
            RotationRunning: another one is under way, or about to be.
            PrefectUnavailable: it could not be started; its row says so.
        """
        parameters = {"old_key_id": plan.old_key_id or "", "new_key_id": plan.new_key_id}
        # The run itself takes this lock once it begins: the row is there before that.
        async with self._rotation.exclusive_lock():
            row = await self._read_row()
            if row is not None and row["status"] not in TERMINAL:
                raise RotationRunning
            job_id = await self._maintenance.announce("key_rotation", parameters)
        await self._maintenance.start("key_rotation", f"to {plan.new_key_id}", parameters, job_id)

    async def progress(self) -> RotationProgress:
        """Read how far the last rotation is; one whose row was cleaned up is known by what the vault has kept of it."""
        if (row := await self._read_row()) is not None:
            return _from_row(row)
        last = (await self._rotation.status())["last_rotation"]
        if last is None:
            return RotationProgress("none")
        state: Literal["done", "failed"] = "done" if last.finished_at and not last.errors else "failed"
        errors = tuple(last.errors) if last.finished_at else ("It was interrupted; start it once more.",)
        return RotationProgress(state, last.updated, last.updated, last.started_at, last.finished_at, errors)

    async def _read_row(self) -> dict[str, Any] | None:
        async with self._database.transaction() as transaction:
            return await transaction.one(MIRROR["last_rotation_row"])


def _from_row(row: dict[str, Any]) -> RotationProgress:
    has_ended = row["status"] in TERMINAL
    progress, result = row["progress"] or {}, row["result"] or {}
    done, total = progress.get("done", 0), progress.get("total")
    if row["status"] == "completed":
        done = total = result.get("updated", done)
    errors = result.get("errors", [])
    if not errors and row["status"] in {"failed", "cancelled"}:
        errors = [row["error"] or f"It was {row['status']}."]
    return RotationProgress(
        state=("done" if row["status"] == "completed" else "failed") if has_ended else "running",
        done=done,
        total=total,
        started_at=row["started_at"] or row["created_at"],
        ended_at=row["completed_at"],
        errors=tuple(errors),
    )
