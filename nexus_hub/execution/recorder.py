"""Writes to the rows of jobs that are held here: how far they have come, and how they end."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from typing import Any, Self
from uuid import UUID

import psycopg

from nexus_hub import memory
from nexus_hub.db.pool import TOO_LARGE, Database, json_parameter, json_text
from nexus_hub.errors import (
    DatabaseUnavailable,
    HubError,
    InternalError,
    MalformedResult,
    OutcomeUnknown,
    TooLarge,
    UpstreamUnavailable,
)
from nexus_hub.escape import escape
from nexus_hub.execution.attempt import Attempt, ClaimStale, Outcome
from nexus_hub.execution.budget import ByteBudget
from nexus_hub.execution.group_commit import GroupCommit
from nexus_hub.jobs.store import JOBS, LARGE_RESULT_BYTES, JobState
from nexus_hub.json_object import JsonObject, escape_text
from nexus_hub.models import JobStatus
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import AttemptEnded
from nexus_hub.telemetry.loops import tell_failure
from nexus_hub.upstream.circuit import CircuitOpen

FIRST_BACKOFF_SECONDS = 2
LONGEST_BACKOFF_SECONDS = 300
LONGEST_RETRY_AFTER_SECONDS = 3600
PROGRESS_SECONDS = 1.0
"""A job's row takes a note of its progress this often at most; of those in between the latest is kept."""
LARGE_RESULTS_BYTES = 16 * 1024 * 1024
"""The large results that are on their way to the database at the same time have so many bytes, or there is one."""
RECORD_PAUSES = (0.5, 1, 2, 4, 8)

NEVER_SENT = (UpstreamUnavailable, DatabaseUnavailable)
"""Failures of an attempt before its call went out: another attempt is safe."""
UNSTORABLE = (RecursionError, psycopg.DataError, *TOO_LARGE)
"""Errors that a result raises that is nested too deep, or too large for the database."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a claim of a job, as its row is to have it."""

    id: UUID
    claim_id: UUID
    status: JobStatus
    result: bytes | None
    """The text of the result, as it was sent."""
    storable: bytes | None
    """The same, as jsonb takes it, if it does not take that."""
    error: str | None
    error_code: str | None
    progress: dict[str, Any] | None

    @classmethod
    def of(cls, attempt: Attempt, text: bytes, storable: bytes | None, failure: HubError | None) -> Self:
        """Make the end of an attempt: with the text of its result, or with its failure."""
        return cls(
            id=attempt.id,
            claim_id=attempt.claim_id,
            status="failed" if failure else "completed",
            result=text or None,
            storable=storable,
            error=escape(failure.message) if failure else None,
            error_code=failure.code if failure else None,
            progress=escape(attempt.progress),
        )

    def as_json(self, number: int) -> dict[str, Any]:
        """Give all but the result in the form that `finish_jobs` takes; `number` says which result is its own."""
        return {
            "number": number,
            "id": str(self.id),
            "claim_id": str(self.claim_id),
            "status": self.status,
            "error": self.error,
            "error_code": self.error_code,
            "progress": self.progress,
        }


@dataclass
class Recorder:
    """Writes under the claims of attempts. What many write at the same time is written in groups."""

    database: Database
    max_result_bytes: int
    progress_seconds: float = PROGRESS_SECONDS
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self.large = ByteBudget(LARGE_RESULTS_BYTES)
        self._ends = GroupCommit(self.write_ends, apart=UNSTORABLE)
        self._progressed: dict[UUID, Attempt] = {}
        self._has_progress = asyncio.Event()

    async def note_progress(self, attempt: Attempt, progress: float, total: float | None, message: str | None) -> None:
        """Take a note of how far the call has come; it is written down soon."""
        if attempt.closed:
            return
        attempt.note_progress(progress, total, message)
        self._progressed[attempt.claim_id] = attempt
        self._has_progress.set()

    def forget_progress(self, attempt: Attempt) -> None:
        """Write down no more of its progress: its end says how far it came."""
        attempt.closed = True
        self._progressed.pop(attempt.claim_id, None)

    async def keep_writing_progress(self) -> None:
        """Write down the latest progress of all attempts, a moment apart, until cancelled."""
        while True:
            await self._has_progress.wait()
            self._has_progress.clear()
            sent = {claim_id: attempt.progress for claim_id, attempt in self._progressed.items()}
            try:
                await self.write_progress()
            except DatabaseUnavailable:
                pass
            except Exception as error:  # whatever it is, later notes are written again
                tell_failure("progress", error)
                self._drop(sent)
            if self._progressed:
                self._has_progress.set()
            await asyncio.sleep(self.progress_seconds)

    async def write_progress(self) -> None:
        """Write down the progress that no row has yet, of many in one go; nothing is written under an older claim."""
        progress = {claim_id: attempt.progress for claim_id, attempt in self._progressed.items()}
        notes = [
            {"id": str(attempt.id), "claim_id": str(claim_id), "progress": escape(attempt.progress)}
            for claim_id, attempt in self._progressed.items()
        ]
        async with self.database.transaction() as transaction:
            written = await transaction.all(JOBS["record_progress"], UUID, notes=json_parameter(notes))
        self._drop({claim_id: progress[claim_id] for claim_id in written})

    def _drop(self, sent: dict[UUID, dict[str, Any] | None]) -> None:
        """Forget the progress that was sent, unless there is newer one of the attempt."""
        for claim_id, progress in sent.items():
            attempt = self._progressed.get(claim_id)
            if attempt is not None and attempt.progress is progress:
                del self._progressed[claim_id]

    async def snooze(self, attempt: Attempt, delay: float) -> datetime | None:
        """Put a job back for the same attempt, later; when, or None if the claim is gone."""
        async with self.database.transaction() as transaction:
            return await transaction.one(
                JOBS["snooze_job"], datetime, delay=delay, error_code=snooze_code(attempt), **attempt.claim
            )

    async def record(self, attempt: Attempt) -> Outcome:
        """Write down how the attempt ended, or put the job back for another one.

        While the database is away it waits: the answer of a call exists here and nowhere else.

        Raises:
            DatabaseUnavailable: the process stops before anything could be written.
        """
        with tracing.span("job.record") as span:
            outcome = await self._record_patiently(attempt)
            span.set({"nexus.job.outcome": outcome})
        code = attempt.failure.code if attempt.failure else None
        ms = attempt.seconds * 1000
        emit(AttemptEnded(attempt.tags, outcome, ms, code, ms + attempt.job.age_ms))
        return outcome

    async def _record_patiently(self, attempt: Attempt) -> Outcome:
        # A loop of its own: tenacity costs 2 % of a job in a batch also where nothing fails.
        pauses = chain(RECORD_PAUSES, repeat(RECORD_PAUSES[-1]))
        while True:
            try:
                return await self._record(attempt)
            except DatabaseUnavailable:
                if attempt.shutting_down:
                    raise
            await asyncio.sleep(next(pauses) * (1 + self.jitter()) / 2)

    async def _record(self, attempt: Attempt) -> Outcome:
        failure = attempt.failure
        again = isinstance(failure, NEVER_SENT) or (attempt.repeatable and isinstance(failure, OutcomeUnknown))
        if failure is not None and again and await self._requeue(attempt, failure):
            return "requeued"
        if isinstance(failure, ClaimStale):
            return await self._read_outcome(attempt)
        try:
            ended = await self._finish(attempt, failure)
        except UNSTORABLE:
            attempt.result = None
            ended = await self._finish(attempt, _without_answer(failure))
        if not ended:
            return await self._read_outcome(attempt)
        return "completed" if attempt.result is not None else "failed"

    async def _requeue(self, attempt: Attempt, failure: HubError) -> bool:
        longest = min(FIRST_BACKOFF_SECONDS * 2 ** (attempt.number - 1), LONGEST_BACKOFF_SECONDS)
        asked = min(getattr(failure, "retry_after", None) or 0, LONGEST_RETRY_AFTER_SECONDS)
        delay = asked + longest * (1 + self.jitter()) / 2
        async with self.database.transaction() as transaction:
            return bool(
                await transaction.run(JOBS["requeue_job"], delay=delay, error_code=failure.code, **attempt.claim)
            )

    async def _finish(self, attempt: Attempt, failure: HubError | None) -> bool:
        text = JsonObject.of(attempt.result).text if failure is None and attempt.result is not None else b""
        size = len(text)
        if failure is None and not text:
            failure = InternalError()
        if failure is None and size > self.max_result_bytes:
            failure = TooLarge("A result", size, self.max_result_bytes, setting="NEXUS_MAX_RESULT_BYTES")
        attempt.failure = failure
        if failure is not None:
            attempt.result = None
            text = self.keep_answer(failure)
            size = len(text)
        if size <= LARGE_RESULT_BYTES:
            return await self._write_end(attempt, text, failure)
        async with self.large.use(size):
            ended = await self._write_end(attempt, text, failure)
        attempt.drop_result()
        if isinstance(failure, MalformedResult):
            failure.answer = None
        asyncio.get_running_loop().run_in_executor(None, memory.trim)
        return ended

    async def _write_end(self, attempt: Attempt, text: bytes, failure: HubError | None) -> bool:
        is_large = len(text) > LARGE_RESULT_BYTES
        storable = await asyncio.to_thread(escape_text, text) if is_large else escape_text(text)
        end = End.of(attempt, text, storable, failure)
        if is_large:
            return end.claim_id in await self.write_ends([end])
        return await self._ends(end)

    def keep_answer(self, failure: HubError | None) -> bytes:
        """Give the text of what came instead of a result as the protocol has it: an object, or one with its value."""
        if not isinstance(failure, MalformedResult) or failure.answer is None:
            return b""
        answer = failure.answer if isinstance(failure.answer, Mapping) else {"value": failure.answer}
        text = JsonObject.of(answer).text
        return text if len(text) <= self.max_result_bytes else b""

    async def write_ends(self, ends: list[End], *, soon: bool = False) -> list[UUID]:
        """Write ends down, in one go; those of which nobody was promised anything can be on the disk `soon` after.

        Each result is a parameter of its own, so that no text can reach beyond its value.
        """
        async with self.database.transaction() as transaction:
            if soon:
                await transaction.run(JOBS["commit_soon"])
            transaction.is_large = any(len(end.result or b"") > LARGE_RESULT_BYTES for end in ends)
            return await transaction.all(
                JOBS["finish_jobs"],
                UUID,
                ends=json_parameter([end.as_json(number) for number, end in enumerate(ends, start=1)]),
                results=[json_text(end.result) for end in ends],
                storable=[json_text(end.storable) for end in ends],
            )

    async def _read_outcome(self, attempt: Attempt) -> Outcome:
        """Look how an attempt ended whose claim is gone; stale unless it was this one that ended."""
        async with self.database.transaction() as transaction:
            state = await transaction.one(JOBS["job_state"], JobState, id=attempt.id)
        if state is None or state.attempt != attempt.number:
            return "stale"
        match state.status:
            case "completed" | "failed" | "cancelled":
                return state.status
            case _:
                return "stale"


def snooze_code(attempt: Attempt) -> str | None:
    """Give the code that says why a job waits, where it is not for a limit or another worker."""
    return attempt.failure.code if isinstance(attempt.failure, CircuitOpen) else None


def _without_answer(failure: HubError | None) -> HubError:
    """Give the failure of an attempt whose result, or answer instead of one, can't be stored."""
    return MalformedResult(failure.server, failure.place) if isinstance(failure, MalformedResult) else NotStorable()


class NotStorable(HubError):
    """A result that the database refuses even when it is escaped, such as one nested too deep."""

    code = "result-not-storable"

    def __init__(self) -> None:
        super().__init__("The call was answered, but the database refuses to store the result.")
