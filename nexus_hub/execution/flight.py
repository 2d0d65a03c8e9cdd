"""Flights: direct calls from the moment at which they go out."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.calls.pipeline import PreparedCall
from nexus_hub.errors import HubError, InternalError, OutcomeUnknown
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.direct_rows import CallRow
from nexus_hub.execution.recorder import End
from nexus_hub.jobs.requests import JobBounds, JobRequest
from nexus_hub.jobs.store import Job, columns_of
from nexus_hub.json_object import JsonObject
from nexus_hub.models import BundleCall, ServerRef
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import report_defect
from nexus_hub.upstream.peer import Peer, PeerRefused
from nexus_hub.upstream.requests import OnProgress, PromptGet, ResourceRead, ToolCall, UpstreamRequest


@dataclass(frozen=True, slots=True)
class DirectCall:
    """A call that somebody waits for; a user id of None is the operator's.

    `tool` is its name among those that the caller sees, for messages. `handle_seconds` is the caller's own word on how
    long it waits until it takes a handle (None: the server's or the hub's, 0: for ever).
    """

    ref: ServerRef
    request: UpstreamRequest = field(repr=False)
    user_id: UUID | None
    tool: str
    handle_seconds: float | None = None
    timeout_seconds: float | None = None
    keeps: "Callable[[JsonObject], bool] | None" = None
    """Tells the results that the caller is to find in a job, too: such a one comes as `Kept`, if it could be kept."""
    by_bundle: BundleCall | None = None

    def to_request(self, bounds: JobBounds) -> JobRequest | None:
        """Give the same call as a job is asked for; None if there are no jobs of its kind.

        Raises:
            InvalidRequest, InvalidArguments, TooLarge: see `JobRequest.check`.
        """
        seconds = math.ceil(self.timeout_seconds or bounds.default_timeout_seconds)
        seconds = max(min(seconds, bounds.timeout_seconds), 1)
        match self.request:
            case ToolCall():
                request = JobRequest("tool_invoke", self.tool, self.request.arguments, timeout_seconds=seconds)
            case ResourceRead():
                request = JobRequest("resource_fetch", self.tool, uri=self.request.uri, timeout_seconds=seconds)
            case PromptGet():
                arguments = dict[str, Any](self.request.arguments)
                request = JobRequest("prompt_execute", self.tool, arguments, timeout_seconds=seconds)
            case _:
                return None
        request.check(bounds.timeout_seconds)
        return replace(request, by_bundle=self.by_bundle)


@dataclass(frozen=True, slots=True)
class Handed:
    """A call that goes on as a job; its row is committed. `seconds` is how long it has run.

    `is_asking`: it has not begun, since a person has to say yes first.
    """

    job_id: UUID
    seconds: float
    is_asking: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that is in the row of its job."""

    job_id: UUID
    result: JsonObject


DurableCall = Callable[[DirectCall, JobRequest, float | None, OnProgress | None], Awaitable[JsonObject | Handed | Kept]]
"""Makes a call that is a job from its start, and waits for it so many seconds (None: to its end)."""


class CallCancelled(HubError):
    """A call whose job was cancelled by somebody else than its caller."""

    code = "cancelled"
    status = 409

    def __init__(self, tool: str, job_id: UUID) -> None:
        super().__init__(f"The call of {tool!r} was cancelled (job {job_id}).")


class CallersPeer:
    """The client behind a call, until it has a handle: then there is nobody to ask any more."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._left = False
        self.asked = 0
        """The questions that it has not answered yet."""

    @property
    def owner(self) -> Hashable:
        """See `Peer`."""
        return self._peer.owner

    @property
    def speaks_older(self) -> bool:
        """See `Peer`."""
        return self._peer.speaks_older

    @property
    def takes_rounds(self) -> bool:
        """See `Peer`; who has a handle does not call again."""
        return not self._left and self._peer.takes_rounds

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """See `Peer`."""
        return self._peer.capabilities

    @property
    def obstacle(self) -> str | None:
        """See `Peer`."""
        return self._peer.obstacle

    def leave(self) -> None:
        """Ask and tell it no more."""
        self._left = True

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """See `Peer.ask`."""
        if self._left:
            raise PeerRefused("The client behind this call has taken a handle for it, and can't be asked any more.")
        self.asked += 1
        try:
            return await self._peer.ask(method, params)
        finally:
            self.asked -= 1

    async def log(self, params: dict[str, Any]) -> None:
        """See `Peer.log`."""
        if not self._left:
            await self._peer.log(params)

    async def complete(self, params: dict[str, Any]) -> None:
        """See `Peer.complete`."""
        if not self._left:
            await self._peer.complete(params)


class Flight:
    """A direct call from the moment at which it goes out. It holds credentials, so that it shows none of itself."""

    def __init__(
        self,
        call: DirectCall,
        request: JobRequest | None,
        prepared: PreparedCall,
        slot: AsyncExitStack,
        on_progress: OnProgress | None = None,
        peer: Peer | None = None,
    ) -> None:
        self.call = call
        self.request = request
        self.prepared = prepared
        self.attempt = _make_attempt(call, request, prepared)
        self.sending: asyncio.Task[JsonObject]
        self.row: asyncio.Task[bool] | None = None
        """The writing of its row; True once that is there, and leased."""
        self.handed = False
        self.slot = slot
        """The slot of its server, which it keeps until it is over, also when it was handed over."""
        self.lease = AsyncExitStack()
        self.peer = None if peer is None else CallersPeer(peer)
        self._on_progress = on_progress
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait for its end, at most so many seconds and until it is hurried; False if it goes on."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self.hurry)
        self.sending.add_done_callback(self._wake)
        try:
            await self._waiting
        finally:
            self.sending.remove_done_callback(self._wake)
            if timer is not None:
                timer.cancel()
        return self.sending.done()

    def hurry(self) -> None:
        """Let its caller wait no longer."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _wake(self, _sending: "asyncio.Task[JsonObject]") -> None:
        self.hurry()

    def make_row(self, end: End | None = None) -> CallRow | None:
        """Make its row as it is at this moment."""
        if self.request is None:
            return None
        name = self.attempt.job.tool_name or getattr(self.call.request, "name", None)
        return CallRow.of(self.attempt, columns_of(self.request, self.call.ref, name), end)

    async def pass_on(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell the caller how far it has come, unless it has a handle."""
        if self._on_progress is not None and not self.handed:
            await self._on_progress(progress, total, message)

    def outcome(self) -> tuple[JsonObject | None, HubError | None]:
        """Give what came of it: a result or a failure."""
        attempt = self.attempt
        if not self.sending.cancelled():
            error = self.sending.exception()
            if error is None:
                return self.sending.result(), None
            if isinstance(error, HubError):
                return None, error
            report_defect(error, attempt.tags)
        elif attempt.stale:
            return None, CallCancelled(self.call.tool, attempt.id)
        elif attempt.shutting_down:
            return None, OutcomeUnknown(self.prepared.shown_server)
        return None, InternalError()


def _make_attempt(call: DirectCall, request: JobRequest | None, prepared: PreparedCall) -> Attempt:
    """Make the attempt of a call that has no row yet; nobody repeats it while its caller waits."""
    job = Job(
        id=uuid4(),
        user_id=call.user_id,
        job_type=request.job_type if request else "tool_invoke",
        server_type=call.ref.server_type,
        server_ref_id=call.ref.server_ref_id,
        tool_name=call.request.name if isinstance(call.request, ToolCall) else None,
        params={},
        params_escaped=False,
        params_as_sent=True,
        attempt=1,
        max_attempts=request.max_attempts if request else 1,
        timeout_seconds=request.timeout_seconds if request else None,
        retry="auto",
        claim_id=uuid4(),
        waited_ms=0,
        trace_context=tracing.current_traceparent(),
        bundle_entry_id=call.by_bundle.entry_id if call.by_bundle else None,
        called_as=call.by_bundle.called_as if call.by_bundle else None,
    )
    attempt = Attempt(job)
    attempt.call = prepared
    attempt.repeatable = False
    return attempt
