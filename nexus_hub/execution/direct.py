"""Direct lane: calls that somebody waits for, made in this process on warm connections, without a flow run."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.policy import choose_course
from nexus_hub.errors import DatabaseUnavailable, HubError, InternalError, RateLimited, StoppedDuringCall, TooLarge
from nexus_hub.execution.attempt import ClaimStale
from nexus_hub.execution.direct_rows import DirectRows
from nexus_hub.execution.ending import Ending
from nexus_hub.execution.flight import CallCancelled, DirectCall, DurableCall, Flight, Handed, Kept
from nexus_hub.execution.recorder import End
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.requests import NO_BOUNDS, JobBounds
from nexus_hub.jobs.store import LARGE_RESULT_BYTES
from nexus_hub.json_object import JsonObject, escape_text
from nexus_hub.models import ServerRef
from nexus_hub.telemetry.bus import emit, report_defect
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.events import CallAnswered, CallReturned
from nexus_hub.telemetry.trail import note
from nexus_hub.upstream.peer import Peer
from nexus_hub.upstream.requests import OnProgress

__all__ = ["CallCancelled", "DirectCall", "DirectLane", "Handed"]

logger = logging.getLogger(__name__)
KNOWN_SECONDS = 30.0
"""Servers and tools are read anew after so long, should the notice of a change have been missed."""
KEPT_SECONDS = 3600.0
"""No call waits for that, nor for a database that is away, if the last reading is no older than this."""
ROW_SECONDS = 0.25
"""A call that takes longer has a row while it is under way; the row of a quicker one is written when it is over."""
HAND_OVER_PAUSE_SECONDS = 5.0
"""A call that could not be handed over, since the database is away or its user has no room, is tried again."""
KEEP_SECONDS = 2.0
"""A result of which a part is to be given waits so long until all of it is in its row; else it is given whole."""
HURRY_SECONDS = 0.5
"""A call that begins while others are handed over, since the process is about to stop, is handed over after that."""
STOP_SECONDS = 3.0
PATIENCE_SECONDS = 10.0
"""A call waits so long for one of its server's slots, and is then refused."""


class DirectLane:
    """The direct lane of a process. `durable` makes the calls that are jobs from their start.

    A call holds one of its server's slots, of which each user has a share, until it is over; further ones wait for a
    moment. A call that was handed over is one of its user's open jobs.
    """

    def __init__(
        self,
        execution: Execution,
        durable: DurableCall,
        bounds: JobBounds = NO_BOUNDS,
        *,
        handle_seconds: float = 50,
        known_seconds: float = KNOWN_SECONDS,
        row_seconds: float = ROW_SECONDS,
    ) -> None:
        self._execution = execution
        self._durable = durable
        self._bounds = bounds
        self._handle_seconds = handle_seconds
        self._row_seconds = row_seconds
        self._servers = ServerCache(
            execution.database, execution.servers, seconds=known_seconds, kept_seconds=KEPT_SECONDS
        )
        self._pipeline = execution.make_pipeline(self._servers)
        self._rows = DirectRows(execution.database, execution.recorder, execution.lease_seconds)
        self._flights: set[Flight] = set()
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = Ending.NOT_YET

    async def call(
        self, call: DirectCall, *, on_progress: OnProgress | None = None, peer: Peer | None = None
    ) -> JsonObject | Handed | Kept:
        """Make a call and give its MCP result as on the wire, or say which job goes on with it.

        Cancelling the awaiting task cancels the call upstream, unless it was handed over.

        Raises:
            NotFound, NotAllowed, CannotOpen, InvalidConfig, InvalidRequest, InvalidArguments: the call can't be made.
            RateLimited, TooMany: not now; `retry_after` says when. No row tells of a call that was not sent.
            UpstreamError, TooLarge: it failed; see `Connections.request`.
            CallCancelled: its job was cancelled by somebody else.
        """
        request = call.to_request(self._bounds)
        note(
            arguments=None if request is None else request.audited,
            called_as=call.by_bundle and call.by_bundle.called_as,
        )
        prepared = await self._pipeline.prepare(call.ref, call.user_id, call.request, by_bundle=call.by_bundle)
        if prepared.needs_approval and request is not None:  # who takes handles gets one at once
            return await self._durable(call, request, None if call.handle_seconds == 0 else 0, on_progress)
        course = choose_course(prepared.policy, caller_seconds=call.handle_seconds, hub_seconds=self._handle_seconds)
        if course.lane == "durable" and request is not None:
            return await self._durable(call, request, course.handle_seconds, on_progress)
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self._pipeline.hold_slot(prepared, patience=PATIENCE_SECONDS))
            if wait := await self._pipeline.admit(prepared):
                raise RateLimited(prepared.shown_server, wait)
            return await self._fly(Flight(call, request, prepared, slot, on_progress, peer), course.handle_seconds)

    def forget(self, ref: ServerRef | None) -> None:
        """Read a server and its tools anew, since they have changed; None: all of them."""
        self._servers.forget(ref)

    def drain(self) -> None:
        """Take note that the process is about to stop: it is not the caller who leaves when a call is cut off now."""
        self._ending = max(self._ending, Ending.DRAINING)

    def end(self, how: Ending) -> None:
        """End the waiting of callers, as the process is about to stop: of those that take a handle, or of all."""
        self._ending = max(self._ending, how)
        for flight in list(self._flights):
            flight.hurry()

    @property
    def running(self) -> int:
        """The calls that are under way."""
        return len(self._flights)

    async def close(self) -> None:
        """Stop: what was handed over and may be repeated is released, the rest ends as `outcome-unknown`."""
        self.drain()
        for flight in self._flights:
            flight.attempt.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                if self._flights:
                    self._empty.clear()
                    await self._empty.wait()
                while self._tasks:
                    await asyncio.wait(self._tasks)
        await self._rows.close()

    async def _fly(self, flight: Flight, handle_seconds: float | None) -> JsonObject | Handed | Kept:
        """Send the call and wait for its end, but no longer than for a handle."""
        attempt = flight.attempt
        flight.sending = attempt.in_flight = asyncio.create_task(
            self._pipeline.call(
                flight.prepared,
                timeout=self._timeout_of(flight.call),
                on_progress=partial(self._note, flight),
                peer=flight.peer,
                has_slot=True,
            )
        )
        self._flights.add(flight)
        timer = asyncio.get_running_loop().call_later(self._row_seconds, self._begin, flight)
        try:
            if handle_seconds is None or flight.request is None:
                await self._wait(flight, None)
            elif await self._wait_or_hand_over(flight, handle_seconds):
                emit(CallAnswered(attempt.tags, attempt.seconds * 1000, handed=True))
                return Handed(attempt.id, attempt.seconds)
        except (asyncio.CancelledError, StoppedDuringCall) as end:
            self._leave(flight, end)
            raise
        finally:
            timer.cancel()
        result, writing = self._answer(flight)
        return Kept(attempt.id, result) if writing is not None and await _is_written(writing) else result

    def _timeout_of(self, call: DirectCall) -> float:
        return min(call.timeout_seconds or self._bounds.default_timeout_seconds, self._bounds.timeout_seconds)

    async def _wait_or_hand_over(self, flight: Flight, seconds: float) -> bool:
        """Wait for the call's end; True if it takes longer, and goes on as a job by itself."""
        while True:
            if await self._wait(flight, seconds if self._ending < Ending.HANDLES else min(seconds, HURRY_SECONDS)):
                return False
            if await self._hand_over(flight) and not flight.sending.done():
                flight.handed = True
                if flight.peer is not None:
                    flight.peer.leave()
                flight.attempt.repeatable = flight.prepared.repeatable
                flight.lease.push_async_exit(flight.slot.pop_all())
                self._keep(asyncio.create_task(self._finish(flight)))
                return True
            seconds = HAND_OVER_PAUSE_SECONDS

    async def _wait(self, flight: Flight, seconds: float | None) -> bool:
        """Wait for a call's end, at most so many seconds (None: for ever); True if it has come.

        Raises:
            StoppedDuringCall: the process can't wait any longer.
        """
        while not await flight.wait(seconds):
            if self._ending == Ending.ALL:
                raise StoppedDuringCall(flight.prepared.shown_server)
            if seconds is not None:
                return False
        return True

    async def _hand_over(self, flight: Flight) -> bool:
        """Make sure of the row that the caller is promised; a caller who is asked something has to answer first."""
        if flight.peer is not None and flight.peer.asked:
            return False
        try:
            has_row = await asyncio.shield(self._begin(flight))
            return has_row and await self._rows.hand_over(flight.attempt, self._bounds.open_jobs)
        except DatabaseUnavailable:
            return False
        except Exception as error:  # the call goes on, and its caller waits for it
            report_defect(error, flight.attempt.tags)
            return False

    def _begin(self, flight: Flight) -> "asyncio.Task[bool]":
        """Write the row of a call that is under way, if it has none."""
        row = flight.row
        if row is None or (row.done() and (row.cancelled() or not row.result())):
            row = flight.row = asyncio.create_task(self._write_row(flight))
        return row

    async def _write_row(self, flight: Flight) -> bool:
        attempt, row, began = flight.attempt, flight.make_row(), time.monotonic()
        if row is None:
            return False
        try:
            await self._rows.begin(row)
        except Exception as error:  # it is written when it ends, or is handed over
            logger.warning("the row of a call could not be written: %s", describe_error(error))
            return False
        attempt.renewed_at = began
        if flight in self._flights:
            flight.lease.enter_context(self._execution.leases.hold(attempt))
        return True

    async def _note(self, flight: Flight, progress: float, total: float | None, message: str | None) -> None:
        """Keep how far a call has come, in its row if it has one, and tell its caller."""
        attempt = flight.attempt
        if attempt.claim_id in self._execution.leases.held:
            await self._execution.recorder.note_progress(attempt, progress, total, message)
        else:
            attempt.note_progress(progress, total, message)
        await flight.pass_on(progress, total, message)

    def _answer(self, flight: Flight) -> "tuple[JsonObject, asyncio.Future[None] | None]":
        """Give the caller what came of its call, and have it written down; the writing, of what it is promised."""
        result, failure = flight.outcome()
        size, most = 0 if result is None else len(result.text), self._execution.max_result_bytes
        if size > most:
            result, failure = None, TooLarge("A result", size, most, setting="NEXUS_MAX_RESULT_BYTES")
        keeps = flight.call.keeps
        promised = result is not None and keeps is not None and keeps(result)
        writing = self._record(flight, result, failure, promised=promised)
        if result is None:
            raise failure or InternalError()
        return result, writing

    def _leave(self, flight: Flight, end: BaseException) -> None:
        """End a call whose caller has left, or was cut off by the end of this process."""
        flight.sending.cancel()
        self._keep(flight.sending)
        if isinstance(end, StoppedDuringCall):
            self._record(flight, None, end)
        elif self._ending:
            self._record(flight, None, StoppedDuringCall(flight.prepared.shown_server))
        else:
            self._record(flight, None, CallCancelled(flight.call.tool, flight.attempt.id))

    def _record(
        self, flight: Flight, result: JsonObject | None, failure: HubError | None, *, promised: bool = False
    ) -> "asyncio.Future[None] | None":
        """Have the end of a call written down that was not handed over; the writing, if it is promised and has room."""
        self._discard(flight)
        attempt, code = flight.attempt, failure.code if failure else None
        rowless = attempt.stale or flight.request is None
        emit(CallAnswered(attempt.tags, attempt.seconds * 1000, code, rowless=rowless))
        self._execution.recorder.forget_progress(attempt)
        attempt.in_flight = None
        writing = None
        if not attempt.stale:
            text = self._execution.recorder.keep_answer(failure) if result is None else result.text
            storable = escape_text(text) if len(text) <= LARGE_RESULT_BYTES else None
            end = End.of(attempt, text, storable, failure)
            if isinstance(failure, CallCancelled):
                end = replace(end, status="cancelled", error=None)
            row = flight.make_row(end)
            promised = promised and row is not None and self._rows.has_room(row)
            writing = self._rows.end(row, flight.row, promised=promised) if row is not None else None
        if flight.row is not None:
            self._keep(asyncio.create_task(_release(flight, writing)))
        return writing if promised else None

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        """Keep a task that nobody waits for until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _discard(self, flight: Flight) -> None:
        self._flights.discard(flight)
        if not self._flights:
            self._empty.set()

    async def _finish(self, flight: Flight) -> None:
        """Carry a call that was handed over to its end, as a worker does; no error of it reaches others."""
        async with flight.lease:
            try:
                await asyncio.wait({flight.sending})
                await self._record_job(flight)
            except Exception as error:  # the lease runs out, and the rescuer decides
                logger.warning("a call that was handed over could not be written down: %s", describe_error(error))
            finally:
                self._discard(flight)
                self._execution.recorder.forget_progress(flight.attempt)

    async def _record_job(self, flight: Flight) -> None:
        """Write down how a call has ended that was handed over, or release it to whichever process goes on with it."""
        attempt = flight.attempt
        attempt.result, attempt.failure = flight.outcome()
        emit(CallReturned(attempt.tags, attempt.seconds * 1000, attempt.failure.code if attempt.failure else None))
        if attempt.stale:
            attempt.failure = ClaimStale()
        elif attempt.shutting_down and attempt.repeatable and flight.sending.cancelled():
            if await self._execution.snooze(attempt, 0) is not None:
                return
            attempt.failure = ClaimStale()
        await self._execution.record(attempt)


async def _is_written(writing: "asyncio.Future[None]") -> bool:
    """Wait for a moment until a row is written; False if nobody knows."""
    await asyncio.wait({writing}, timeout=KEEP_SECONDS)
    return writing.done() and not writing.cancelled() and writing.exception() is None


async def _release(flight: Flight, writing: "asyncio.Future[None] | None") -> None:
    """Let go of the lease of a call that is over, once its end is written."""
    waiting = {one for one in (flight.row, writing) if one is not None}
    await asyncio.wait(waiting)
    await flight.lease.aclose()
