"""Clean-up: orphans fail with a reason, and what ended long ago is deleted. Live jobs are never touched."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import InvalidRequest, PrefectUnavailable
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.models import MOST_DAYS
from nexus_hub.orchestration.prefect_client import ENDED, FLOWS
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.steps import OnProgress, StepRunner, run_step

CLEANUP = load("cleanup")
BATCH = 1000
ORPHAN_BATCH = 200
"""As many flow runs as Prefect is asked about in one request."""

_TRIES_AT_DAYS, _PAUSE_AT_DAYS = 5, 2.0
"""Tries for partitions that somebody else is in, and the seconds between two of them."""

_START = ("-infinity", UUID(int=0))
"""The key that lies before all others: a time as text, which every time survives, and an id."""


@dataclass(frozen=True, slots=True)
class DeletedBatch:
    """A batch that was deleted: the number of its rows, and the key of the last one."""

    deleted: int
    after_at: str
    after_id: UUID


@dataclass(frozen=True, slots=True)
class DroppedDays:
    """Jobs of partitions that were dropped whole, and the number of those that somebody was in."""

    deleted_completed: int
    deleted_orphaned: int
    busy_days: int


@dataclass(frozen=True, slots=True)
class SilentJob:
    """A job that gave no sign of life, as it was when that was seen; `after_at` and its id are its key."""

    id: UUID
    version: int
    flow_run_id: UUID | None
    after_at: str


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """Counts of what a clean-up did, or would do, and the seconds it took."""

    orphans_failed: int
    deleted_completed: int
    deleted_orphaned: int
    seconds: float

    @property
    def total_deleted(self) -> int:
        """All rows that were deleted, of both kinds."""
        return self.deleted_completed + self.deleted_orphaned

    def as_counts(self) -> dict[str, int]:
        """Give the three counts, under their documented names."""
        return {
            "deleted_completed": self.deleted_completed,
            "deleted_orphaned": self.deleted_orphaned,
            "total_deleted": self.total_deleted,
        }


def parse_days(name: str, value: object) -> int:
    """Read a number of days from outside; 0 means 0.

    Raises:
        InvalidRequest: it is no whole number within 0..3650.
    """
    if type(value) is int and 0 <= value <= MOST_DAYS:
        return value
    # A number too long to print would raise.
    huge = isinstance(value, int) and value.bit_length() > 64
    said = "a number far out of range" if huge else repr(value)[:80]
    raise InvalidRequest(f"{name} is {said}; it must be a whole number from 0 to {MOST_DAYS}.")


class Cleanup:
    """Deletes in batches, each a short transaction, so that no writer waits for longer than one of them.

    Running jobs under a lease, and jobs that were or can be dispatched, are left to the rescuer: it gives them another
    attempt, or fails them for its own reasons.
    """

    def __init__(self, database: Database, prefect_client: PrefectRuns, *, batch: int = BATCH) -> None:
        self._database = database
        self._prefect_client = prefect_client
        self._batch = batch

    async def run(
        self, days_completed: int, days_orphaned: int, on_progress: OnProgress, step: StepRunner = run_step
    ) -> CleanupReport:
        """Fail orphans, then delete; a flow gives a `step` that makes each step a task.

        Raises:
            InvalidRequest: days outside 0..3650.
            DatabaseUnavailable: the database was lost; batches that were done stay done.
        """
        parse_days("days_completed", days_completed)
        began, counts, dropped = time.monotonic(), dict[str, Any](), DroppedDays(0, 0, 0)

        async def tell(news: dict[str, Any]) -> None:
            counts.update({name: count + getattr(dropped, name, 0) for name, count in news.items()})
            await on_progress(dict(counts))

        failed = await step("fail-orphans", self.fail_orphans, days_orphaned)
        await tell({"orphans_failed": failed})
        if await self.add_days():
            dropped = await step("drop-days", self.drop_days, days_completed, days_orphaned)
            if gone := [name for name in ("deleted_completed", "deleted_orphaned") if getattr(dropped, name)]:
                await tell(dict.fromkeys(gone, 0))
        completed = await step("delete-ended-jobs", self.delete_ended, days_completed, tell)
        orphaned = await step("delete-orphans", self.delete_orphaned, days_orphaned, tell)
        completed, orphaned = completed + dropped.deleted_completed, orphaned + dropped.deleted_orphaned
        return CleanupReport(failed, completed, orphaned, time.monotonic() - began)

    async def count(self, days_completed: int, days_orphaned: int) -> CleanupReport:
        """Count what a clean-up would do at this moment; nothing is changed.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        began = time.monotonic()
        completed = await self._count("count_ended", parse_days("days_completed", days_completed))
        orphaned = await self._count("count_orphaned", parse_days("days_orphaned", days_orphaned))
        cutoff = await self._find_cutoff(days_orphaned)
        found = sum([len(orphans) async for orphans in self._find_orphans(cutoff)])
        # What fails as an orphan is kept from then on; without any days it would be deleted at once.
        deleted_with_them = found if days_orphaned == 0 else 0
        return CleanupReport(found, completed, orphaned + deleted_with_them, time.monotonic() - began)

    async def fail_orphans(self, days_orphaned: int) -> int:
        """Fail what gave no sign of life for so many days and never will; the number of those jobs.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        failed = 0
        cutoff = await self._find_cutoff(parse_days("days_orphaned", days_orphaned))
        async for orphans in self._find_orphans(cutoff):
            ids, versions = [one.id for one in orphans], [one.version for one in orphans]
            async with self._database.transaction() as transaction:
                rows = await transaction.all(CLEANUP["fail_orphans"], ids=ids, versions=versions, cutoff=cutoff)
            failed += tell_closed(rows, "failed", "orphaned")
        return failed

    async def add_days(self) -> bool:
        """Make the partitions of the days to come; False: jobs are in one table."""
        async with self._database.transaction() as transaction:
            await transaction.run(CLEANUP["add_days"])
            return await transaction.only(CLEANUP["are_in_days"], bool)

    async def drop_days(self, days_completed: int, days_orphaned: int) -> DroppedDays:
        """Drop the partitions of which nothing is to be kept.

        Days that somebody is in all the time are left to the deletes by rows.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        days = {
            "days_completed": parse_days("days_completed", days_completed),
            "days_orphaned": parse_days("days_orphaned", days_orphaned),
        }
        for _ in range(_TRIES_AT_DAYS):
            async with self._database.transaction() as transaction:
                dropped = await transaction.only(CLEANUP["drop_days"], DroppedDays, **days)
            if not dropped.busy_days:
                break
            await asyncio.sleep(_PAUSE_AT_DAYS)
        return dropped

    async def delete_ended(self, days_completed: int, on_progress: OnProgress) -> int:
        """Delete what ended more than so many days ago, of all types; the number of rows.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        days = parse_days("days_completed", days_completed)
        return await self._delete("delete_ended", days, "deleted_completed", on_progress)

    async def delete_orphaned(self, days_orphaned: int, on_progress: OnProgress) -> int:
        """Delete what failed as an orphan more than so many days ago; the number of rows.

        Raises:
            InvalidRequest: days outside 0..3650.
        """
        days = parse_days("days_orphaned", days_orphaned)
        return await self._delete("delete_orphaned", days, "deleted_orphaned", on_progress)

    async def _delete(
        self, query: Literal["delete_ended", "delete_orphaned"], days: int, count: str, on_progress: OnProgress
    ) -> int:
        """Delete batch by batch, then once more from the start: rows that were locked on the way may be free by now."""
        cutoff, deleted = await self._find_cutoff(days), 0
        for _ in range(2):
            after = _START
            while batch := await self._delete_batch(query, cutoff, *after):
                deleted += batch.deleted
                after = batch.after_at, batch.after_id
                await on_progress({count: deleted})
        return deleted

    async def _delete_batch(self, query: str, cutoff: str, after_at: str, after_id: UUID) -> DeletedBatch | None:
        async with self._database.transaction() as transaction:
            return await transaction.one(
                CLEANUP[query], DeletedBatch, cutoff=cutoff, limit=self._batch, after_at=after_at, after_id=after_id
            )

    async def _find_orphans(self, cutoff: str) -> AsyncIterator[list[SilentJob]]:
        """Find orphans in batches. Without Prefect's word only running rows that have no flow run can be judged."""
        startable = await self._find_startable()
        async for rows in self._read_pages("silent_running", cutoff=cutoff):
            yield await self._drop_live(rows)
        if startable is not None:
            async for rows in self._read_pages("silent_pending", cutoff=cutoff, startable=startable):
                yield await self._drop_live(rows)

    async def _read_pages(self, query: str, **params: object) -> AsyncIterator[list[SilentJob]]:
        after_at, after_id = _START
        while True:
            async with self._database.transaction() as transaction:
                rows = await transaction.all(
                    CLEANUP[query], SilentJob, limit=ORPHAN_BATCH, after_at=after_at, after_id=after_id, **params
                )
            if not rows:
                return
            after_at, after_id = rows[-1].after_at, rows[-1].id
            yield rows

    async def _find_startable(self) -> list[str] | None:
        """List the types of jobs that Prefect has a deployment for; None if it does not answer."""
        try:
            missing = await self._prefect_client.missing_deployments()
        except PrefectUnavailable:
            return None
        return [job_type for job_type, flow in FLOWS.items() if flow not in missing]

    async def _drop_live(self, rows: list[SilentJob]) -> list[SilentJob]:
        """Drop rows whose flow run is not over; without Prefect's word, all that have one."""
        runs = {row.flow_run_id for row in rows if row.flow_run_id is not None}
        try:
            states = await self._prefect_client.states(runs) if runs else {}
        except PrefectUnavailable:
            live = runs
        else:
            live = {run for run, state in states.items() if state.type not in ENDED}
        return [row for row in rows if row.flow_run_id not in live]

    async def _find_cutoff(self, days: int) -> str:
        """Find the time before which, by the database's clock; it stays the same for all batches."""
        async with self._database.transaction() as transaction:
            return await transaction.only(CLEANUP["cutoff"], str, days=days)

    async def _count(self, query: str, days: int) -> int:
        cutoff = await self._find_cutoff(days)
        async with self._database.transaction() as transaction:
            return await transaction.only(CLEANUP[query], int, cutoff=cutoff)
