"""Backups of what rotations replaced: put back, and thrown away once they are old."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, NotFound
from nexus_hub.models import MOST_DAYS
from nexus_hub.vault.keyring import Keyring
from nexus_hub.vault.resealing import FIRST, PLACES, VAULT, DueValue, Place, SealedRef, describe_failure, open_row


@dataclass(frozen=True, slots=True)
class Backup(DueValue):
    """Bytes that a rotation replaced, and what has become of those that it put in their place."""

    state: Literal["restored", "resealed", "changed"]


async def restore(database: Database, ring: Keyring, new_key_id: str, *, batch: int) -> dict[str, Any]:
    """Put back what rotations to that key replaced: `{"restored": their number, "left": a line for each other one}`.

    A value that was changed since stays, and so does one whose backup the ring does not open.

    Raises:
        NotFound: nothing is kept that a rotation to that key replaced.
    """
    restored, left = 0, list[str]()
    async with database.transaction() as transaction:
        if not await transaction.one(VAULT["has_backups"], new_key_id=new_key_id):
            raise NotFound("backup of what was replaced under the vault key", new_key_id)
    for place in PLACES:
        after: UUID | None = FIRST
        while after is not None:
            after, count, lines = await _restore_batch(database, ring, new_key_id, place, after, batch)
            restored += count
            left += lines
    return {"restored": restored, "left": left}


async def _restore_batch(
    database: Database, ring: Keyring, new_key_id: str, place: Place, after: UUID, batch: int
) -> tuple[UUID | None, int, list[str]]:
    """Put a batch back in one transaction: the last id looked at, the number restored, a line for each left."""
    async with database.transaction() as transaction:
        rows = await transaction.all(VAULT[f"backups_{place}"], Backup, new_key_id=new_key_id, after=after, limit=batch)
        reasons = {row.id: _explain_refusal(ring, SealedRef(place, row.id), row) for row in rows}
        await transaction.run(VAULT["no_new_revision"])
        ids = [row.id for row in rows if row.state == "resealed" and reasons[row.id] is None]
        restored = await transaction.run(VAULT[f"restore_{place}"], ids=ids, new_key_id=new_key_id)
        await transaction.run(VAULT["undo_rotations"], server_type=place, ids=ids, new_key_id=new_key_id)
    return (rows[-1].id if rows else None), restored, [line for line in reasons.values() if line]


def _explain_refusal(ring: Keyring, ref: SealedRef, row: Backup) -> str | None:
    if row.state == "changed":
        return f"{ref}: was changed since the rotation"
    if row.state == "resealed" and open_row(ring, ref, row) is None:
        return f"{describe_failure(ref, row.key_id)} as it was before; put that key back into the ring first"
    return None


async def purge(database: Database, days: int) -> int:
    """Throw away backups that are older than so many days; their number.

    Raises:
        InvalidRequest: days outside 0..3650.
    """
    if not 0 <= days <= MOST_DAYS:
        raise InvalidRequest(f"days is {days}; it must lie within 0 and {MOST_DAYS}.")
    async with database.transaction() as transaction:
        return await transaction.run(VAULT["purge_backups"], days=days)
