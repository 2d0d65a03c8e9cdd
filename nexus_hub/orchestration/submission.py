"""Submission of jobs by callers: stored, dispatched, cancelled, and waited for."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import ApprovalNeeded, DatabaseUnavailable, Draining, HubError, JobEnded, PrefectUnavailable
from nexus_hub.execution.ending import Ending
from nexus_hub.execution.flight import CallCancelled, DirectCall, Handed, Kept
from nexus_hub.jobs import store, submit
from nexus_hub.jobs.approvals import Asker
from nexus_hub.jobs.progress import ProgressRelay
from nexus_hub.jobs.requests import JobBounds, JobRequest
from nexus_hub.json_object import JsonObject
from nexus_hub.models import TERMINAL, Principal
from nexus_hub.orchestration.dispatcher import Dispatcher, JobDispatch
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.telemetry.loops import tell_failure
from nexus_hub.upstream.requests import OnProgress

LOOK_SECONDS = 5.0
"""A job that is waited for is looked at this often, should the notice of its end have been missed."""


class StoppedWaiting(Draining):
    """A process that was about to stop while a caller waited there for a job, which goes on."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            f"The hub's process was stopped before the call had ended. It goes on as job {job_id}: read its result "
            "there, since to call again would make another call."
        )


class JobFailed(HubError):
    """A call that was a job from its start and has failed; code and message are its row's."""

    def __init__(self, code: str | None, message: str) -> None:
        self.code = code or "failed"
        super().__init__(message)


@dataclass
class Submission:
    """Jobs from a caller's request to their ends."""

    database: Database
    dispatcher: Dispatcher
    prefect_client: PrefectClient
    bounds: JobBounds
    asker: Asker | None = None
    """Tells the calls that wait for a person's yes; None: no call does."""

    def __post_init__(self) -> None:
        self._awaited: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._watched: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        """The same of those that want to hear of progress, too."""
        self._cancelling: set[asyncio.Task[None]] = set()
        self._ending = Ending.NOT_YET

    def notice(self, job_id: UUID | None) -> None:
        """Look at a job that is waited for, since it has ended; None: at all of them."""
        awaited = self._awaited.values() if job_id is None else (self._awaited.get(job_id, set()),)
        for event in chain.from_iterable(awaited):
            event.set()

    def notice_progress(self, job_id: UUID) -> None:
        """Look at a job whose progress somebody wants to hear of, since it has got further."""
        for event in self._watched.get(job_id, ()):
            event.set()

    def drain(self) -> None:
        """Take note that the process is about to stop: a caller that is cut off from now on has not left its job."""
        self._ending = max(self._ending, Ending.DRAINING)

    def end(self, how: Ending) -> None:
        """End the waiting of callers, as the process is about to stop: of those that take a handle, or of all."""
        self._ending = max(self._ending, how)
        self.notice(None)

    async def submit(
        self,
        principal: Principal,
        request: JobRequest,
        *,
        label: str,
        resolved: store.ResolvedRequest | None = None,
        take_turn: store.TakeTurn = store.take_no_turn,
    ) -> dict[str, Any]:
        """Store a job and have it started, in a run of its own or a shared one; its row.

        Raises: see `submit.submit`.
        """
        with self.dispatcher.arrival() as crowded:
            job, place = await submit.submit(
                self.database,
                principal,
                request,
                self.bounds,
                resolved=resolved,
                queued=crowded,
                take_turn=take_turn,
                asker=self.asker,
            )
        if place is not None and not place.queued:
            waits = job["error_code"] == ApprovalNeeded.code
            self.dispatcher.start(JobDispatch(job["id"], 1, job["job_type"], label, is_paused=waits))
        elif place is not None and not place.joined:
            self.dispatcher.open_run()
        return job

    async def cancel(self, principal: Principal, job_id: UUID) -> None:
        """End a job as cancelled; the upstream is told, and the flow run follows.

        Raises:
            NotFound, JobEnded: see `store.cancel`.
        """
        flow_run_id = await store.cancel(self.database, principal, job_id)
        if flow_run_id is not None:
            with suppress(PrefectUnavailable):  # the run finds its job cancelled when it starts
                await self.prefect_client.cancel(flow_run_id)

    async def call(
        self, call: DirectCall, request: JobRequest, seconds: float | None, on_progress: OnProgress | None = None
    ) -> JsonObject | Handed | Kept:
        """Make a call as a job from its start: its result, or a handle after so many seconds; progress until then.

        Cancelling the awaiting task cancels the job, unless it was handed over.

        Raises:
            JobFailed, CallCancelled: it did not complete.
            TooMany: the user has as many open jobs as are allowed; and whatever else `submit` raises.
        """
        principal = Principal(call.user_id)
        resolved = request, call.ref, getattr(call.request, "name", None)
        job = await self.submit(principal, request, label=call.tool, resolved=resolved)
        is_asking = job["error_code"] == ApprovalNeeded.code
        return await self.follow(call, Handed(job["id"], 0, is_asking=is_asking), seconds, on_progress)

    async def follow(
        self, call: DirectCall, handed: Handed, seconds: float | None, on_progress: OnProgress | None = None
    ) -> JsonObject | Handed | Kept:
        """Wait for the job of a call, as `call` does.

        Raises:
            JobFailed, CallCancelled: it did not complete.
            StoppedWaiting: the process stops, and the caller takes no handle; the job goes on.
        """
        principal, job_id, began = Principal(call.user_id), handed.job_id, asyncio.get_running_loop().time()
        with self.cancelling_with(principal, job_id):
            ended = await self.wait(principal, job_id, seconds, on_progress)
        if ended is None and seconds is None:
            raise StoppedWaiting(job_id)
        if ended is None:
            return replace(handed, seconds=handed.seconds + asyncio.get_running_loop().time() - began)
        if ended["status"] == "cancelled":
            raise CallCancelled(call.tool, job_id)
        if ended["status"] == "failed":
            raise JobFailed(ended["error_code"], ended["error"] or f"The call of {call.tool!r} failed.")
        result = JsonObject.of(ended["result"] or {})
        return Kept(job_id, result) if call.keeps is not None and call.keeps(result) else result

    @contextmanager
    def cancelling_with(self, principal: Principal, job_id: UUID) -> Iterator[None]:
        """Cancel a job if the block is cancelled, since its caller has left it."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._ending:
                task = asyncio.create_task(self._give_up(principal, job_id))
                self._cancelling.add(task)
                task.add_done_callback(self._cancelling.discard)
            raise

    async def wait(
        self, principal: Principal, job_id: UUID, seconds: float | None, on_progress: OnProgress | None = None
    ) -> dict[str, Any] | None:
        """Wait for a job's end, and tell of its progress; its row, or None if it has not ended after so many seconds.

        A process that is about to stop waits no longer.

        Raises:
            NotFound: the principal sees no such job.
        """
        relay = None if on_progress is None else ProgressRelay(on_progress)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._await(job_id, with_progress=relay is not None) as changed:
                while True:
                    changed.clear()
                    with suppress(DatabaseUnavailable):
                        job = await store.get(self.database, principal, job_id)
                        if job["status"] in TERMINAL:
                            return job
                        if relay is not None:
                            await relay.tell(job["progress"])
                    if self._ending >= (Ending.ALL if seconds is None else Ending.HANDLES):
                        return None
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await changed.wait()
        return None

    @asynccontextmanager
    async def _await(self, job_id: UUID, *, with_progress: bool) -> AsyncIterator[asyncio.Event]:
        """Hear of a job's end, and perhaps of its progress, as long as the block runs."""
        event, places = asyncio.Event(), [self._awaited, *([self._watched] if with_progress else [])]
        for place in places:
            place[job_id].add(event)
        try:
            yield event
        finally:
            for place in places:
                place[job_id].discard(event)
                if not place[job_id]:
                    del place[job_id]

    async def _give_up(self, principal: Principal, job_id: UUID) -> None:
        try:
            await self.cancel(principal, job_id)
        except JobEnded:
            pass
        except HubError as error:
            tell_failure("cancel-call", error)
