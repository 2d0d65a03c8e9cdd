"""Sealing values anew under another key: row by row, in short transactions, each with its backup."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import CannotOpen
from nexus_hub.models import ServerRef
from nexus_hub.steps import OnProgress
from nexus_hub.vault.keyring import Keyring, KeyringSource
from nexus_hub.vault.sealing import SealContext, is_bound, open_sealed, seal

VAULT = load("vault")
Place = Literal["system", "user", "login"]
"""Place of a sealed value: the servers of the system or of users, or the logins at them."""
PLACES: tuple[Place, ...] = ("system", "user", "login")
FIRST = UUID(int=0)
PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """Choice of values and their new key: those under `old_key_id`, or without it all that are not under the new one.

    Values without a key id are always chosen.
    """

    new_key_id: str
    old_key_id: str | None = None

    def takes(self, key_id: str | None) -> bool:
        """Decide if a value under that key is to be sealed anew."""
        if key_id is None or self.old_key_id is None:
            return key_id != self.new_key_id
        return key_id == self.old_key_id

    @property
    def parameters(self) -> dict[str, str | None]:
        """The plan as parameters of the queries."""
        return {"new_key_id": self.new_key_id, "old_key_id": self.old_key_id}


@dataclass(frozen=True, slots=True)
class SealedRef:
    """Reference to a row that holds a sealed value."""

    place: Place
    row_id: UUID

    def context(self, owner: UUID | None) -> SealContext:
        """Give what the value is bound to, if it is of that owner."""
        if self.place == "login":
            return SealContext.for_login(self.row_id, owner)
        return SealContext.for_server(ServerRef(self.place, self.row_id), owner)

    def __str__(self) -> str:
        return f"Login {self.row_id}" if self.place == "login" else f"Server {self.place}/{self.row_id}"


@dataclass(frozen=True, slots=True)
class DueValue:
    """A value that is to be sealed anew."""

    id: UUID
    user_id: UUID | None
    """The owner; None: it is the hub's."""
    key_id: str | None
    config_encrypted: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedValue(DueValue):
    """A sealed value, and whether the rotation that is asked for sealed it anew."""

    rotated: bool


def open_row(ring: Keyring, ref: SealedRef, row: DueValue) -> bytes | None:
    """Open what a row has sealed; None if no key does."""
    try:
        return open_sealed(ring, ref.context(row.user_id), row.config_encrypted, row.key_id)
    except CannotOpen:
        return None


def is_bound_row(ring: Keyring, ref: SealedRef, row: DueValue) -> bool:
    """Tell if what a row has sealed opens there and for its owner only."""
    return is_bound(ring, ref.context(row.user_id), row.config_encrypted, row.key_id)


def describe_failure(ref: SealedRef, key_id: str | None) -> str:
    """Write the line on a value that does not open."""
    key = f"key {key_id}" if key_id else "any key of the ring"
    return f"{ref}: can't be opened with {key}"


def describe_change(ref: SealedRef, key: str) -> str:
    """Write the line on a value that somebody has sealed under another key since."""
    return f"{ref}: was sealed under {key} meanwhile; rotate once more"


@dataclass
class Resealer:
    """Seals the values of one rotation anew."""

    database: Database
    source: KeyringSource
    plan: RotationPlan
    rotation_id: UUID
    batch: int
    patience: float
    failed: dict[SealedRef, str] = field(default_factory=dict)
    done: int = 0
    _left_out: list[UUID] = field(default_factory=list)
    _resealed: set[SealedRef] = field(default_factory=set)
    """Values that are under the new key, or were: each counts once, however often somebody seals it as before."""

    async def run(self, on_progress: OnProgress) -> list[str]:
        """Seal anew until nothing is left but what fails, telling of each batch; a line for each of those.

        Raises:
            NotFound: the new key has left the ring.
        """
        async with self.database.transaction() as transaction:
            self.done = await transaction.only(VAULT["count_rotated"], int, rotation_id=self.rotation_id)
        waits = 0
        while due := await self._count_due():
            seen, total = self.done + len(self.failed), self.done + due
            for place in PLACES:
                await self._reseal_table(place, on_progress, total)
            waits = waits + 1 if self.done + len(self.failed) == seen else 0
            if waits * PAUSE_SECONDS > self.patience:
                return [*self.failed.values(), *map(self._describe_rest, await self._list_rest())]
            if waits:
                await asyncio.sleep(PAUSE_SECONDS)
        return list(self.failed.values())

    async def _count_due(self) -> int:
        """Count what this pass is to seal anew. What fails in it lies behind the place that its batches go on from."""
        self._left_out = [ref.row_id for ref in self.failed]
        async with self.database.transaction() as transaction:
            return await transaction.only(VAULT["count_due"], int, failed=self._left_out, **self.plan.parameters)

    def _describe_rest(self, ref: SealedRef) -> str:
        if ref in self._resealed:
            return describe_change(ref, "an old key")
        return f"{ref}: is held by another transaction"

    async def _list_rest(self) -> list[SealedRef]:
        async with self.database.transaction() as transaction:
            return await transaction.all(VAULT["due"], SealedRef, failed=self._left_out, **self.plan.parameters)

    async def _reseal_table(self, place: Place, on_progress: OnProgress, total: int) -> None:
        """Go over all rows of a table once, in the order of their ids."""
        after: UUID | None = FIRST
        while after is not None:
            after, resealed = await self._reseal_batch(place, after)
            self.done += resealed
            if resealed:
                await on_progress({"done": self.done, "total": max(total, self.done)})

    async def _reseal_batch(self, place: Place, after: UUID) -> tuple[UUID | None, int]:
        """Seal a batch anew in one transaction: the last id that it looked at, and how many values are new to that."""
        async with self.database.transaction() as transaction:
            rows = await transaction.all(
                VAULT[f"take_due_{place}"],
                DueValue,
                after=after,
                failed=self._left_out,
                limit=self.batch,
                **self.plan.parameters,
            )
            ring = self.source.current().with_primary(self.plan.new_key_id)
            sealed = [one for row in rows if (one := self._reseal_row(ring, SealedRef(place, row.id), row))]
            if sealed:
                await self._store(transaction, place, sealed)
        new = {SealedRef(place, row_id) for row_id, _, _ in sealed} - self._resealed
        self._resealed |= new
        return (rows[-1].id if rows else None), len(new)

    def _reseal_row(self, ring: Keyring, ref: SealedRef, row: DueValue) -> tuple[UUID, bytes, bytes] | None:
        """Seal a row's bytes anew, open them again and compare: its id, the old and the new bytes."""
        plaintext = open_row(ring, ref, row)
        if plaintext is None:
            self.failed[ref] = describe_failure(ref, row.key_id)
            return None
        context = ref.context(row.user_id)
        sealed = seal(ring, context, plaintext)
        if open_sealed(ring, context, sealed.data, sealed.key_id) != plaintext:
            raise CannotOpen(str(context), sealed.key_id)
        return row.id, row.config_encrypted, sealed.data

    async def _store(self, transaction: Transaction, place: Place, sealed: list[tuple[UUID, bytes, bytes]]) -> None:
        ids, old, new = (list(column) for column in zip(*sealed, strict=True))
        await transaction.run(VAULT["no_new_revision"])
        await transaction.run(
            VAULT[f"reseal_{place}"],
            ids=ids,
            old=old,
            new=new,
            new_key_id=self.plan.new_key_id,
            rotation_id=self.rotation_id,
        )


async def read_sealed_values(
    database: Database, rotation_id: UUID | None = None, *, limit: int = 500
) -> AsyncIterator[tuple[SealedRef, SealedValue]]:
    """Read every sealed value, page by page."""
    for place in PLACES:
        after: UUID | None = FIRST
        while after is not None:
            async with database.transaction() as transaction:
                rows = await transaction.all(
                    VAULT[f"sealed_{place}"], SealedValue, after=after, rotation_id=rotation_id, limit=limit
                )
            for row in rows:
                yield SealedRef(place, row.id), row
            after = rows[-1].id if rows else None
