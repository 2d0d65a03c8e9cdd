"""The way of a call through the hub, the same in every lane: open the server, take its limit, call.

Nothing here knows who keeps account of the call: a job's row, a flow run, or nobody.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar
from uuid import UUID

from nexus_hub.access.permissions import EVERYTHING, Permission, Permissions, require_call
from nexus_hub.calls import retries
from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.bundled import BundledCall, look_up_bundled
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.digests import digest_call
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.traces import call_span, note_result
from nexus_hub.calls.turns import take_turn
from nexus_hub.catalog.bundles import Bundles
from nexus_hub.errors import ApprovalNeeded, LoginNeeded, NotFound, NotOffered, UpstreamUnavailable
from nexus_hub.json_object import JsonObject
from nexus_hub.models import BundleCall, ServerRef
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.servers.policies import DEFAULT_POLICY, CallPolicy
from nexus_hub.telemetry import tracing
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.peer import Peer
from nexus_hub.upstream.requests import Completion, OnProgress, ToolCall, UpstreamRequest

SHORTEST_WAIT_SECONDS = 0.1
C = TypeVar("C")
UseApproval = Callable[[bytes], Awaitable[None]]
"""Takes a person's yes to the call of this digest, or raises what there is instead."""


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call whose server is open and whose arguments fit. It holds credentials, and shows neither them nor arguments.

    `repeatable`: the call does no harm when it is made twice, by its kind or by what the server says of the tool.
    `needs_approval`: a person has to say yes first, so that it can only be made as a job, which waits for that.
    """

    target: Target = field(repr=False)
    request: UpstreamRequest = field(repr=False)
    user_id: UUID | None
    limits: Limits
    repeatable: bool
    policy: CallPolicy = DEFAULT_POLICY
    permission: Permission = EVERYTHING
    needs_approval: bool = False
    bundled: BundledCall | None = None

    @property
    def shown_server(self) -> str:
        """The name by which its caller knows the server: to users who call by a bundle's name, the bundle's."""
        return self.target.name if self.bundled is None or self.user_id is None else self.bundled.call.bundle

    def speak(self) -> AbstractContextManager[None]:
        """Let errors that arise within the block name the server as its caller knows it."""
        return _speak(self.bundled, self.user_id, self.target.ref)


def _speak(bundled: BundledCall | None, user_id: UUID | None, ref: ServerRef) -> AbstractContextManager[None]:
    """Speak of a server as a user who calls by a bundle's name knows it; an operator sees both."""
    return nullcontext() if bundled is None or user_id is None else bundled.speak(ref)


class Pipeline:
    """Prepares, admits and makes calls; `servers` says how long it trusts what it has read of them.

    `permissions` gives what a user may do: no lane, and no job that was stored before, gets past that. `bundles` gives
    those that there are, for calls by their names.
    """

    def __init__(
        self,
        servers: ServerCache,
        limiter: Limiter,
        connections: Connections,
        permissions: TtlCache[UUID | None, Permissions],
        bundles: TtlCache[None, Bundles],
    ) -> None:
        self._permissions = permissions
        self._bundles = bundles
        self._servers = servers
        self._limiter = limiter
        self._connections = connections

    async def prepare(
        self,
        ref: ServerRef,
        user_id: UUID | None,
        request: UpstreamRequest,
        use_approval: UseApproval | None = None,
        by_bundle: BundleCall | None = None,
    ) -> PreparedCall:
        """Open the server's credentials and check the arguments; a user id of None is the operator's.

        A yes that the call needs is taken by `use_approval`; a lane without jobs has none. A call by a name of a bundle
        gets the arguments that this fixes.

        Raises:
            NotFound: there is no such server, or it belongs to another user, or the user does not see it.
            NotAllowed: the user may see it, and not call it.
            NotOffered: the server is switched off; to who looks after it also: the tool is, or it is held.
            ApprovalNeeded, ApprovalDenied, ApprovalExpired: nor without a person's yes.
            CannotOpen, InvalidConfig, InvalidArguments: the call can't be made.
        """
        with tracing.span("call.open", attributes={"nexus.server.id": ref.server_ref_id}):
            call = await self._prepare_by(by_bundle, ref, user_id, request)
            if call.needs_approval and use_approval is not None:
                await use_approval(digest_call(ref, call.request))
                return replace(call, needs_approval=False)
            return call

    async def _prepare_by(
        self, by_bundle: BundleCall | None, ref: ServerRef, user_id: UUID | None, request: UpstreamRequest
    ) -> PreparedCall:
        if by_bundle is None:
            return await self._prepare(ref, user_id, request, await self._permit(ref, user_id, request))
        bundled = await look_up_bundled(self._bundles, by_bundle, ref, request)
        bundled = replace(bundled, sees_server=(await self._permissions(user_id)).sees_server(ref))
        with _speak(bundled, user_id, ref):
            return await self._prepare(ref, user_id, request, await self._permit_bundle(user_id, bundled), bundled)

    async def _prepare(
        self,
        ref: ServerRef,
        user_id: UUID | None,
        request: UpstreamRequest,
        permission: Permission,
        bundled: BundledCall | None = None,
    ) -> PreparedCall:
        try:
            target, server = await self._servers.server(ref)
        except NotOffered as error:
            raise (error if user_id is None or error.owner in {None, user_id} else NotFound("server", ref)) from None
        if user_id is not None and server.user_id not in (None, user_id):
            raise NotFound("server", ref)
        repeatable, durable, given = True, server.durable, request
        if bundled is not None:
            request = bundled.complete(request)
        if isinstance(request, ToolCall):
            tool = await self._servers.tool(ref, request.name)
            if not tool.is_offered:  # which is told to who looks after it; to others there is none
                is_known = user_id == server.user_id
                raise NotOffered.tool(request.name, held=tool.is_held) if is_known else NotFound("tool", request.name)
            async with take_turn():
                if bundled is not None and isinstance(given, ToolCall):
                    bundled.check(tool.schema, given.arguments, request.arguments)
                else:
                    check_tool_arguments(request.name, tool.schema, request.arguments)
            repeatable, durable = tool.repeatable, tool.durable or durable
            request = replace(request, as_task=True) if tool.needs_task else request
        target = self._servers.log_in(target, user_id)
        limits = Limits(server.limit_per_minute, server.user_limit_per_minute)
        policy = CallPolicy(durable or "long", server.handle_seconds)
        waits = permission.level == "approve" and not isinstance(request, Completion)
        return PreparedCall(target, request, user_id, limits, repeatable, policy, permission, waits, bundled)

    async def _permit(self, ref: ServerRef, user_id: UUID | None, request: UpstreamRequest) -> Permission:
        """Say what the user may do. Before anything is looked at: what is hidden costs just what is not there."""
        tool = request.name if isinstance(request, ToolCall) else None
        permission = (await self._permissions(user_id)).of(ref, tool)
        if permission is None or not permission.may_call:
            self._permissions.forget(user_id)  # a no is never an old one: the grant may have been given just now
            permissions = await self._permissions(user_id)
            permission = permissions.of(ref, tool)
            if tool is not None and permissions.sees_server(ref):
                return require_call(permission, "tool", tool)
        return require_call(permission, "server", ref)

    async def _permit_bundle(self, user_id: UUID | None, bundled: BundledCall) -> Permission:
        permission = (await self._permissions(user_id)).of_bundle(bundled.bundle.id)
        if permission is None or not permission.may_call:
            self._permissions.forget(user_id)
            permission = (await self._permissions(user_id)).of_bundle(bundled.bundle.id)
        return require_call(permission, bundled.entry.kind, bundled.call.called_as)

    @asynccontextmanager
    async def hold_slot(self, call: PreparedCall, *, patience: float) -> AsyncIterator[None]:
        """Hold a slot of the call's server, to be called with `has_slot`; see `Connections.slot`."""
        async with AsyncExitStack() as slot:
            with call.speak():
                await slot.enter_async_context(self._connections.slot(call.target, call.user_id, patience=patience))
            yield

    async def admit(self, call: PreparedCall) -> float:
        """Take the call from the server's limits, if that answers at all; seconds to wait, or 0.

        Raises:
            CircuitOpen: the server has not answered for a while; nothing was taken.
            LoginNeeded: nor for want of a login.
            ApprovalNeeded: nor for want of a person's yes.
            DatabaseUnavailable: whether it may go can't be said.
        """
        if call.needs_approval:
            raise ApprovalNeeded
        with tracing.span("call.admit") as span, call.speak():
            self._connections.check(call.target)
            if call.target.credentials is not None:
                with suppress(UpstreamUnavailable):  # which the call finds out, and may be made again after
                    await call.target.credentials.headers()
            decision = await self._limiter.take(call.target.ref.server_ref_id, call.user_id, call.limits)
            wait = 0 if decision.allowed else max(decision.retry_after, SHORTEST_WAIT_SECONDS)
            span.set({"nexus.wait_seconds": wait})
        return wait

    async def call(
        self,
        call: PreparedCall,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
        peer: Peer | None = None,
        has_slot: bool = False,
    ) -> JsonObject:
        """Send the request and give the MCP result as on the wire; see `Connections.request`."""
        with call.speak(), call_span(call.target, call.request) as span:
            try:
                result = await self._connections.request(
                    call.target,
                    call.request,
                    timeout=timeout,
                    on_progress=on_progress,
                    peer=peer,
                    user_id=call.user_id,
                    has_slot=has_slot,
                )
            except LoginNeeded as error:
                needed = self._servers.need_login(call.target, call.user_id, error)
            else:
                note_result(span, result)
                return result
            raise needed


@dataclass(frozen=True, slots=True)
class CallSteps(Generic[C]):
    """The steps of a call as a lane takes them: plainly, as tasks of a flow run, with a row beside them."""

    open: Callable[[C], Awaitable[None]]
    admit: Callable[[C], Awaitable[float]]
    """Seconds to wait, or 0."""
    call: Callable[[C], Awaitable[None]]

    def with_retries(self) -> "CallSteps[C]":
        """Give the same steps, each taken again while it fails in a way that passes by itself."""
        return CallSteps(
            retries.DATABASE.wrap(self.open), retries.DATABASE.wrap(self.admit), retries.UPSTREAM.wrap(self.call)
        )

    async def run(self, call: C) -> float:
        """Take the steps in their order; seconds to wait if the server's limit holds the call back, else 0."""
        await self.open(call)
        if wait := await self.admit(call):
            return wait
        await self.call(call)
        return 0
