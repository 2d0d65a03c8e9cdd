"""The rotation of the vault's keys: every sealed value goes under a new key while all of them stay readable.

begin -> promote -> reseal -> verify -> finish. What is sealed under which key is the only cursor: a rotation that was
killed is resumed by starting it again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, NoSecondKey, NotFound, RotationRunning
from nexus_hub.steps import OnProgress, StepRunner, run_step
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import KeysRotated
from nexus_hub.telemetry.trail import note
from nexus_hub.vault import backups
from nexus_hub.vault.keyring import Keyring, KeyringSource
from nexus_hub.vault.keys import parse_key_id
from nexus_hub.vault.resealing import (
    VAULT,
    Resealer,
    RotationPlan,
    describe_change,
    describe_failure,
    is_bound_row,
    open_row,
    read_sealed_values,
)

__all__ = ["Rotation", "RotationPlan", "RotationReport"]
LOCK = "vault-rotation"
"""The name of the lock that whoever changes sealed values in bulk holds: see `Database.exclusive_lock`."""


@dataclass(frozen=True, slots=True)
class RotationReport:
    """Report of a rotation: `updated` values were sealed anew by it and opened afterwards, `errors` has a line for
    each that was not; `seconds` since it was first started."""

    rotation_id: UUID
    old_key_id: str | None
    new_key_id: str
    updated: int
    errors: list[str]
    seconds: float
    promoted: bool

    @property
    def advice(self) -> str | None:
        """Advice on what is left to the operator to do."""
        if self.promoted:
            return None
        return (
            f"New values are still sealed under the old key: make the key {self.new_key_id} the primary for every "
            "process (VAULT_ENCRYPTION_KEY, and the old one as VAULT_OLD_KEY), start them anew, then rotate once more."
        )


@dataclass(frozen=True, slots=True)
class LastRotation:
    """The rotation that was started last, as the database has it."""

    id: UUID
    old_key_id: str | None
    new_key_id: str
    started_at: datetime
    finished_at: datetime | None
    restored_at: datetime | None
    updated: int
    errors: list[str]
    flow_run_id: UUID | None

    @property
    def interrupted(self) -> bool:
        """True if it was interrupted and can be resumed."""
        return self.finished_at is None and self.restored_at is None


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Use of a key: the number of values that are sealed under it, since when it is in use, and when a rotation to it
    ended last. None: a key of no known id."""

    key_id: str | None
    rows: int
    first_used_at: datetime | None = None
    rotated_at: datetime | None = None


class Rotation:
    """Rotates the keys of one hub; `batch` values to a transaction, `patience` seconds for rows that others hold."""

    def __init__(self, database: Database, source: KeyringSource, *, batch: int = 250, patience: float = 30) -> None:
        self._database = database
        self._source = source
        self._batch = batch
        self._patience = patience

    async def plan(self, old_key_id: str | None = None, new_key_id: str | None = None) -> RotationPlan:
        """Plan a rotation. Without `new_key_id`: go on with the last one if it was interrupted, else go to
        the one key of the ring that is new.

        Raises:
            InvalidRequest: these are no ids of keys, both are the same, or several keys are new.
            NotFound: the ring lacks the key.
            NoSecondKey: it has no new one.
        """
        ring = self._source.current()
        old = None if old_key_id is None else _require_key(ring, old_key_id, "old_key_id")
        new = await self._choose_key_id() if new_key_id is None else _require_key(ring, new_key_id, "new_key_id")
        if old == new:
            raise InvalidRequest(f"old_key_id and new_key_id are both {new}; name two keys, or only the new one.")
        note(target=new)
        return RotationPlan(new, old)

    async def _choose_key_id(self) -> str:
        async with self._database.transaction() as transaction:
            last = await transaction.one(VAULT["last_rotation"], LastRotation)
            used = set(await transaction.all(VAULT["used_key_ids"], str))
        if last and last.interrupted and self._source.current().get(last.new_key_id):
            return last.new_key_id
        waiting = self._source.list_targets(used)
        if not waiting:
            raise NoSecondKey(self._source.remedy())
        if len(waiting) > 1:
            raise InvalidRequest(f"Several keys are new: {', '.join(waiting)}. Name one of them as new_key_id.")
        return waiting[0]

    async def dry_run(self, plan: RotationPlan) -> dict[str, Any]:
        """Count what would be sealed anew, `{"would_update", "errors"}`: every value is opened, none is changed."""
        would_update, errors = 0, []
        async for ref, row in read_sealed_values(self._database):
            if plan.takes(row.key_id):
                if open_row(self._source.current(), ref, row) is None:
                    errors.append(describe_failure(ref, row.key_id))
                else:
                    would_update += 1
        return {"would_update": would_update, "errors": errors}

    async def run(
        self,
        plan: RotationPlan,
        on_progress: OnProgress,
        flow_run_id: UUID | None = None,
        step: StepRunner = run_step,
    ) -> RotationReport:
        """Take all steps of a rotation, or of what is left of one; a flow gives a `step` that makes each a task.

        Raises:
            RotationRunning: another one is under way.
            NotFound: the new key has left the ring.
        """
        async with self.exclusive_lock():
            rotation_id = await step("begin-rotation", self.begin, plan, flow_run_id)
            promoted = await step("promote-key", self.promote, plan)
            errors = await step("reseal-values", self.reseal, rotation_id, plan, on_progress)
            updated, unverified, bound = await step("verify-values", self.verify, rotation_id, plan)
            errors += unverified
            return await step(
                "finish-rotation", self.finish, rotation_id, updated, errors, promoted=promoted, bound=bound
            )

    @asynccontextmanager
    async def exclusive_lock(self) -> AsyncIterator[None]:
        """Keep all other rotations and restores out; the steps below belong into this block.

        Raises:
            RotationRunning: another one is under way.
        """
        async with self._database.exclusive_lock(LOCK) as free:
            if not free:
                raise RotationRunning
            yield

    async def begin(self, plan: RotationPlan, flow_run_id: UUID | None = None) -> UUID:
        """Note the rotation's start; the last one is gone on with if it was interrupted on the way to the same key."""
        primary = self._source.current().primary.id
        old_primary = primary if primary != plan.new_key_id else None
        async with self._database.transaction() as transaction:
            last = await transaction.one(VAULT["last_rotation"], LastRotation)
            if last and last.interrupted and last.new_key_id == plan.new_key_id:
                return await transaction.only(VAULT["resume_rotation"], UUID, id=last.id, flow_run_id=flow_run_id)
            return await transaction.only(
                VAULT["begin_rotation"],
                UUID,
                old_key_id=plan.old_key_id or old_primary,
                old_primary_key_id=old_primary,
                new_key_id=plan.new_key_id,
                flow_run_id=flow_run_id,
            )

    async def promote(self, plan: RotationPlan) -> bool:
        """Let all who share the keyring seal under the new key; False where only the operator can do that.

        Raises:
            NotFound: the new key has left the ring.
        """
        return await asyncio.to_thread(self._source.promote, plan.new_key_id)

    async def reseal(self, rotation_id: UUID, plan: RotationPlan, on_progress: OnProgress) -> list[str]:
        """Seal all values anew, and tell of each batch; a line for each that can't be, which stays as it is.

        Raises:
            NotFound: the new key has left the ring.
        """
        work = Resealer(self._database, self._source, plan, rotation_id, self._batch, self._patience)
        return await work.run(on_progress)

    async def verify(self, rotation_id: UUID, plan: RotationPlan) -> tuple[int, list[str], bool]:
        """Open every value under the new key: the number of the rotation's that do, a line for each that does not,
        and True if every value of the hub opens in its row and for its owner only.

        A value that somebody has sealed under an old key since is a line too.
        """
        updated, errors, all_bound, ring = 0, list[str](), True, self._source.current()
        async for ref, row in read_sealed_values(self._database, rotation_id):
            bound = is_bound_row(ring, ref, row)
            opens = bound or open_row(ring, ref, row) is not None
            if row.key_id == plan.new_key_id:
                if opens:
                    updated += row.rotated
                else:
                    errors.append(describe_failure(ref, row.key_id))
            elif plan.takes(row.key_id) and opens:
                errors.append(describe_change(ref, f"key {row.key_id}"))
            all_bound = all_bound and bound
        return updated, errors, all_bound

    async def finish(
        self, rotation_id: UUID, updated: int, errors: list[str], *, promoted: bool, bound: bool
    ) -> RotationReport:
        """Note the rotation's end, and report; of several lines on one server the first counts.

        After one that left all values `bound` and had no errors, no other value is opened.
        """
        errors = list({line.partition(": ")[0]: line for line in reversed(errors)}.values())[::-1]
        async with self._database.transaction() as transaction:
            row = await transaction.only(
                VAULT["finish_rotation"], id=rotation_id, updated=updated, errors=errors, bound=bound and not errors
            )
        report = RotationReport(rotation_id, updated=updated, errors=errors, promoted=promoted, **row)
        ms = report.seconds * 1000
        emit(KeysRotated(rotation_id, report.new_key_id, updated, len(errors), ms, report.old_key_id))
        return report

    async def status(self) -> dict[str, Any]:
        """List the keys by their ids with the rows under each, the rows under other keys or none, the last rotation
        and the number of backups."""
        held = self._source.current().keys()
        async with self._database.transaction() as transaction:
            found = await transaction.all(VAULT["rows_per_key"], KeyUse)
            last = await transaction.one(VAULT["last_rotation"], LastRotation)
            kept = await transaction.only(VAULT["count_backups"], int)
        ids = {key.id for key in held}
        uses: dict[str | None, KeyUse] = {use.key_id: use for use in found if use.rows or use.key_id in ids}
        keys = [_describe_key(uses.pop(key.id, KeyUse(key.id, 0)), is_primary=key == held[0]) for key in held]
        unbound = uses.pop(None, KeyUse(None, 0)).rows
        return {
            "primary_key_id": held[0].id,
            "keys": keys,
            "unbound": unbound,
            "missing_keys": [{"key_id": use.key_id, "rows": use.rows} for use in uses.values()],
            "last_rotation": last,
            "backups": kept,
        }

    async def restore(self, new_key_id: str) -> dict[str, Any]:
        """Put back what rotations to that key replaced: `{"restored", "left"}`, the latter a line for each value that
        was changed since or whose backup can't be opened.

        Raises:
            InvalidRequest: that is no id of a key.
            NotFound: no rotation went to that key.
            RotationRunning: a rotation is under way.
        """
        key_id = parse_key_id(new_key_id, what="key_id")
        async with self.exclusive_lock():
            return await backups.restore(self._database, self._source.current(), key_id, batch=self._batch)

    async def purge_backups(self, days: int = 30) -> int:
        """Throw away backups that are older than so many days; their number.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        return await backups.purge(self._database, days)


def _describe_key(use: KeyUse, *, is_primary: bool) -> dict[str, Any]:
    return {
        "key_id": use.key_id,
        "primary": is_primary,
        "is_primary": is_primary,
        "rows": use.rows,
        "sealed": use.rows,
        "first_used_at": use.first_used_at,
        "rotated_at": use.rotated_at,
    }


def _require_key(ring: Keyring, key_id: str, what: str) -> str:
    checked = parse_key_id(key_id, what=what)
    if ring.get(checked) is None:
        raise NotFound("vault key", checked)
    return checked
