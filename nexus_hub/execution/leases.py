"""Leases of all attempts that this process works on, renewed by one loop."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from nexus_hub.db.pool import Database, blocking_transaction
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.understudy import Understudy
from nexus_hub.jobs.store import JOBS
from nexus_hub.telemetry.loops import tell_failure

LEASE_SECONDS = 30
HEARTBEAT_SECONDS = 10
DEAD_LEASES = 10
"""An event loop that has not come round for so many leases counts as dead."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A claim that still holds; not renewed while somebody else is writing its row."""

    claim_id: UUID
    renewed: bool


@dataclass
class Leases:
    """The attempts that this process holds, by their claims, of whichever lane.

    A lease lasts `lease_seconds`, and all are renewed every `heartbeat_seconds`.
    """

    database: Database
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    def __post_init__(self) -> None:
        self.held: dict[UUID, Attempt] = {}
        self._began_at = time.monotonic()

    @contextmanager
    def hold(self, attempt: Attempt) -> Iterator[None]:
        """Keep the lease alive as long as the block runs; a claim that goes stale ends the call."""
        self.held[attempt.claim_id] = attempt
        try:
            yield
        finally:
            del self.held[attempt.claim_id]

    def mark_stale(self, job_id: UUID) -> None:
        """Stop the work on a job whose row has ended, if it is held here."""
        for attempt in self.held.values():
            if attempt.id == job_id:
                attempt.mark_stale()

    async def keep_renewing(self) -> None:
        """Renew all leases at every heartbeat, until cancelled; a thread does it while the event loop is held up."""
        self._began_at = time.monotonic()
        understudy = Understudy(
            lambda: self._began_at,
            self.renew_beside_loop,
            late_seconds=1.5 * self.heartbeat_seconds,
            dead_seconds=DEAD_LEASES * self.lease_seconds,
        )
        spent = 0.0
        with understudy.watch():
            while True:
                await asyncio.sleep(max(self.heartbeat_seconds - spent, 0))
                self._began_at = time.monotonic()
                await self._beat()
                spent = time.monotonic() - self._began_at

    def renew_beside_loop(self) -> None:
        """Renew all leases from another thread, on a connection of its own."""
        held, began = list(self.held.values()), time.monotonic()
        if not held:
            return
        with blocking_transaction(self.database.url, name="nexus-hub leases") as connection:
            parameters = {"lease_seconds": self.lease_seconds, **claims_of(held)}
            rows = connection.execute(JOBS["renew_leases"], parameters).fetchall()
        renewed = {row["claim_id"] for row in rows if row["renewed"]}
        for attempt in held:
            if attempt.claim_id in renewed:
                attempt.renewed_at = began

    async def renew(self, attempts: Iterable[Attempt]) -> list[Renewal]:
        """Renew the leases of these attempts; of a claim that is gone there is nothing in the answer."""
        async with self.database.transaction() as transaction:
            return await transaction.all(
                JOBS["renew_leases"], Renewal, lease_seconds=self.lease_seconds, **claims_of(attempts)
            )

    async def _beat(self) -> None:
        """Renew once; a call that may be repeated ends before its lease does, since then somebody else repeats it."""
        held, began = list(self.held.values()), time.monotonic()
        try:
            async with asyncio.timeout(self.heartbeat_seconds):
                claims = {one.claim_id: one.renewed for one in await self.renew(held)} if held else {}
        except Exception as error:  # whatever it is, the leases go on running out, and are renewed the next time
            tell_failure("leases", error)
        else:
            for attempt in held:
                if attempt.claim_id not in claims:
                    attempt.mark_stale()
                elif claims[attempt.claim_id]:
                    attempt.renewed_at = began
        oldest = time.monotonic() + self.heartbeat_seconds - self.lease_seconds
        for attempt in self.held.values():
            if attempt.repeatable and attempt.renewed_at < oldest:
                attempt.mark_stale()


def claims_of(attempts: Iterable[Attempt]) -> dict[str, list[UUID]]:
    """Give what a write to many must match."""
    pairs = [(attempt.id, attempt.claim_id) for attempt in attempts]
    return {"ids": [job_id for job_id, _ in pairs], "claim_ids": [claim_id for _, claim_id in pairs]}
