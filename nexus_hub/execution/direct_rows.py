"""Rows of direct calls, written in groups beside the calls: no call waits for one that nobody was promised."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

from nexus_hub import memory
from nexus_hub.db.pool import Database, json_parameter, json_text
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, HubError
from nexus_hub.escape import escape, fits_jsonb
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.group_commit import GroupCommit
from nexus_hub.execution.recorder import UNSTORABLE, End, NotStorable, Recorder
from nexus_hub.jobs.store import JOBS, LARGE_RESULT_BYTES
from nexus_hub.json_object import escape_text
from nexus_hub.telemetry.bus import emit, report_defect
from nexus_hub.telemetry.events import CallsUnrecorded
from nexus_hub.telemetry.loops import tell_failure

DIRECT = load("direct")
LINGER_SECONDS = 0.1
"""Ended calls wait so long for others that are written together with them."""
MOST_ROWS = 10_000
"""So many ended calls wait for a database that is away; of further ones no row is kept."""
MOST_BYTES = 64 * 1024 * 1024
"""Their arguments and results have so many bytes together; of further ones no result is kept."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
W = TypeVar("W")


class NotKept(HubError):
    """A result that was passed on to its caller and is not in the call's row."""

    code = "result-not-kept"

    def __init__(self) -> None:
        super().__init__("The result went to its caller; the hub had no room to keep it until the database took it.")


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as its row is to have it: under way, or ended. Times are those of the monotonic clock."""

    columns: dict[str, Any]
    user_id: UUID | None
    id: UUID
    claim_id: UUID
    began_at: float
    ended_at: float | None = None
    end: End | None = None
    progress: dict[str, Any] | None = None
    trace_context: str | None = None

    @classmethod
    def of(cls, attempt: Attempt, columns: dict[str, Any], end: End | None = None) -> Self:
        """Make the row of an attempt at this moment."""
        ended_at = None if end is None else time.monotonic()
        progress = escape(attempt.progress) if end is None else end.progress
        job = attempt.job
        return cls(
            columns,
            job.user_id,
            job.id,
            job.claim_id,
            attempt.claimed_at,
            ended_at,
            end,
            progress,
            job.trace_context,
        )

    @property
    def size(self) -> int:
        """The bytes of its arguments and its result."""
        return len(self.columns["params_sent"] or b"") + len((self.end and self.end.result) or b"")

    def without_result(self, reason: HubError) -> Self:
        """Give the same call without its result; one that was completed has been answered."""
        if self.end is None:
            return self
        end = replace(self.end, result=None, storable=None)
        if end.status == "completed":
            end = replace(end, error=reason.message, error_code=reason.code)
        return replace(self, end=end)

    def as_json(self, number: int) -> dict[str, Any]:
        """Give all but the texts in the form that `insert_calls` takes; `number` says which texts are its own."""
        now, text, end = time.monotonic(), self.columns["params_sent"], self.end
        columns = self.columns | {"params": None if text and fits_jsonb(text) else self.columns["params"]}
        del columns["params_sent"], columns["retry"], columns["idempotency_key"], columns["request_digest"]
        return columns | {
            "number": number,
            "id": str(self.id),
            "user_id": None if self.user_id is None else str(self.user_id),
            "server_ref_id": str(columns["server_ref_id"]),
            "status": end.status if end else "running",
            "claim_id": None if end else str(self.claim_id),
            "age": now - self.began_at,
            "seconds": None if self.ended_at is None else self.ended_at - self.began_at,
            "error": end.error if end else None,
            "error_code": end.error_code if end else None,
            "progress": self.progress,
            "trace_context": self.trace_context,
        }


class DirectRows:
    """Writes rows of direct calls. While the database is away, ended calls wait for it, within bounds."""

    def __init__(self, database: Database, recorder: Recorder, lease_seconds: float) -> None:
        self._database = database
        self._recorder = recorder
        self._lease_seconds = lease_seconds
        self._begun = GroupCommit(self._insert, apart=UNSTORABLE)
        self._ended = GroupCommit(partial(self._until_written, self._insert), apart=UNSTORABLE, linger=LINGER_SECONDS)
        self._finished = GroupCommit(
            partial(self._until_written, self._finish), apart=UNSTORABLE, linger=LINGER_SECONDS
        )
        self._waiting: set[asyncio.Future[Any]] = set()
        self._bytes = 0
        self._unrecorded = 0
        self._closing = False

    async def begin(self, row: CallRow) -> None:
        """Write the row of a call that is under way, under its claim.

        Raises:
            DatabaseUnavailable: it may be there or not.
        """
        await self._begun(row)

    async def hand_over(self, attempt: Attempt, most_open: int | None) -> bool:
        """Count a call that has a row to its user's open jobs, for good; False if there is no room, or no claim.

        Raises:
            DatabaseUnavailable: it was not counted, or nobody knows.
        """
        user_id = attempt.job.user_id
        most_open = None if user_id is None else most_open
        async with self._database.transaction() as transaction:
            if most_open is not None:
                await transaction.run(JOBS["hold_open_jobs"], user_id=user_id)
            handed = await transaction.run(
                DIRECT["hand_over_call"], user_id=user_id, most_open=most_open, **attempt.claim
            )
        return bool(handed)

    def has_room(self, row: CallRow) -> bool:
        """Tell if a call can be kept with its result."""
        return len(self._waiting) < MOST_ROWS and self._bytes + row.size <= MOST_BYTES

    def end(
        self, row: CallRow, begun: "asyncio.Task[bool] | None" = None, *, promised: bool = False
    ) -> "asyncio.Future[Any] | None":
        """Have an ended call written soon, of one that was `begun` once that is done; None if no row is kept of it.

        One that is `promised` is written at once, and for good.
        """
        if len(self._waiting) >= MOST_ROWS:
            self._unrecorded += 1
            return None
        if not self.has_room(row):
            row = row.without_result(NotKept())
        if promised or row.size > LARGE_RESULT_BYTES:
            writing: asyncio.Future[Any] = asyncio.create_task(self._write_alone(row, begun, soon=not promised))
        elif begun is not None:
            writing = asyncio.create_task(self._write_begun(row, begun))
        else:
            writing = self._ended.put(row)
        self._waiting.add(writing)
        self._bytes += row.size
        writing.add_done_callback(partial(self._on_written, row, begun))
        return writing

    async def close(self) -> None:
        """Write what waits, if the database takes it in a few seconds."""
        self._closing = True
        self._ended.hurry()
        self._finished.hurry()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=CLOSE_SECONDS)
        self._unrecorded += len(self._waiting)
        self._tell_unrecorded()

    async def _write_begun(self, row: CallRow, begun: "asyncio.Task[bool]") -> None:
        """Write the end of a call that has a row; all of it, if the first write of that was lost."""
        await asyncio.wait({begun})
        if row.end is not None and not await self._finished(row.end):
            await self._ended(row)

    async def _write_alone(self, row: CallRow, begun: "asyncio.Task[bool] | None", *, soon: bool) -> None:
        """Write one by itself; one with a large result when there is room for it."""
        if begun is not None:
            await asyncio.wait({begun})
        async with self._recorder.large.use(row.size if row.size > LARGE_RESULT_BYTES else 0):
            assert row.end is not None  # noqa: S101 - calls are begun without a result, and one by one
            end = replace(row.end, storable=await asyncio.to_thread(escape_text, row.end.result or b""))
            if begun is None or not await self._until_written(partial(self._finish, soon=soon), [end]):
                await self._until_written(partial(self._insert, soon=soon), [replace(row, end=end)])
        if row.size > LARGE_RESULT_BYTES:
            asyncio.get_running_loop().run_in_executor(None, memory.trim)

    async def _until_written(self, write: Callable[[list[W]], Awaitable[Collection[UUID]]], rows: list[W]) -> Any:
        """Write ended calls, again and again while the database is away."""
        while True:
            try:
                written = await write(rows)
            except DatabaseUnavailable as error:
                if self._closing:
                    raise
                tell_failure("direct-rows", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._tell_unrecorded()
                return written

    async def _finish(self, ends: list[End], *, soon: bool = True) -> list[UUID]:
        return await self._recorder.write_ends(ends, soon=soon)

    async def _insert(self, rows: list[CallRow], *, soon: bool = True) -> list[UUID]:
        """Write rows in one go; one that is there already was written before, by a write whose answer was lost."""
        ends = [row.end for row in rows]
        async with self._database.transaction() as transaction:
            transaction.is_large = any(row.size > LARGE_RESULT_BYTES for row in rows)
            await transaction.run(
                DIRECT["insert_calls"],
                calls=json_parameter([row.as_json(number) for number, row in enumerate(rows, start=1)]),
                params=[json_text(row.columns["params_sent"]) for row in rows],
                results=[json_text(end.result if end else None) for end in ends],
                storable=[json_text(end.storable if end else None) for end in ends],
                lease_seconds=self._lease_seconds,
                soon=soon,
            )
        return [row.claim_id for row in rows]

    def _on_written(self, row: CallRow, begun: "asyncio.Task[bool] | None", writing: asyncio.Future[Any]) -> None:
        self._waiting.discard(writing)
        self._bytes -= row.size
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, UNSTORABLE) and row.end is not None and row.end.result is not None:
            self.end(row.without_result(NotStorable()), begun)
        elif error is not None or writing.cancelled():
            if error is not None and not isinstance(error, DatabaseUnavailable):
                report_defect(error)
            self._unrecorded += 1

    def _tell_unrecorded(self) -> None:
        """Tell how many calls have no row, now that rows are written again."""
        if self._unrecorded:
            emit(CallsUnrecorded(self._unrecorded))
            self._unrecorded = 0
