"""The way of a call through the hub, the same in every lane: open the server, take its limit, call.

Nothing here knows who keeps account of the call: a job's row, a flow run, or nobody.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from nexus_hub.calls import retries
from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.turns import take_turn
from nexus_hub.errors import NotFound
from nexus_hub.json_object import JsonObject
from nexus_hub.models import ServerRef
from nexus_hub.rate_limit.limiter import Limiter, Limits
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import OnProgress, ToolCall, UpstreamRequest

SHORTEST_WAIT_SECONDS = 0.1
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call whose server is open and whose arguments fit. It holds credentials, and shows neither them nor arguments.

    `repeatable`: the call does no harm when it is made twice, by its kind or by what the server says of the tool.
    """

    target: Target = field(repr=False)
    request: UpstreamRequest = field(repr=False)
    user_id: UUID | None
    limits: Limits
    repeatable: bool


class Pipeline:
    """Prepares, admits and makes calls; `servers` says how long it trusts what it has read of them."""

    def __init__(self, servers: ServerCache, limiter: Limiter, connections: Connections) -> None:
        self._servers = servers
        self._limiter = limiter
        self._connections = connections

    async def prepare(self, ref: ServerRef, user_id: UUID | None, request: UpstreamRequest) -> PreparedCall:
        """Open the server's credentials and check the arguments; a user id of None is the operator's.

        Raises:
            NotFound: there is no such server, or it belongs to another user.
            CannotOpen, InvalidConfig, InvalidArguments: the call can't be made.
        """
        target, server = await self._servers.server(ref)
        if user_id is not None and server.user_id not in (None, user_id):
            raise NotFound("server", ref)
        repeatable = True
        if isinstance(request, ToolCall):
            tool = await self._servers.tool(ref, request.name)
            async with take_turn():
                check_tool_arguments(request.name, tool.schema, request.arguments)
            repeatable = tool.repeatable
        limits = Limits(server.limit_per_minute, server.user_limit_per_minute)
        return PreparedCall(target, request, user_id, limits, repeatable)

    async def admit(self, call: PreparedCall) -> float:
        """Take the call from the server's limits; seconds to wait, or 0.

        Raises:
            DatabaseUnavailable: whether it may go can't be said.
        """
        decision = await self._limiter.take(call.target.ref.server_ref_id, call.user_id, call.limits)
        return 0 if decision.allowed else max(decision.retry_after, SHORTEST_WAIT_SECONDS)

    async def call(
        self, call: PreparedCall, *, timeout: float | None, on_progress: OnProgress | None = None
    ) -> JsonObject:
        """Send the request and give the MCP result as on the wire; see `Connections.request`."""
        return await self._connections.request(call.target, call.request, timeout=timeout, on_progress=on_progress)


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
