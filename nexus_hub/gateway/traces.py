"""Spans of clients' requests, by OpenTelemetry's conventions for MCP: the server's side of a request.

Source: OpenTelemetry semantic conventions, Model Context Protocol, server spans; `_meta` by MCP 2026-07-28 and SEP-414.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from nexus_hub.gateway.asked import VIEW, Context
from nexus_hub.gateway.entries import Kind
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.trail import note

T = TypeVar("T")
OTHER = "_OTHER"
"""The name of all methods that nobody knows: what a client calls them is its own words."""
ENDLESS = frozenset({"subscriptions/listen"})
"""Requests that last as long as their client listens."""
_NAMES: dict[Kind, str] = {"tool": "gen_ai.tool.name", "prompt": "gen_ai.prompt.name"}


async def answer_traced(context: Context, known: Collection[str], answer: Callable[[], Awaitable[T]]) -> T:
    """Answer a message within a span of it, which goes on with the trace of its client."""
    if not tracing.is_on() or context.request is None or context.request_id is None or context.method in ENDLESS:
        return await answer()
    method = context.method if context.method in known else OTHER
    tags = {"mcp.method.name": method, "mcp.protocol.version": context.protocol_version}
    scope = context.request.scope
    meta = (context.params or {}).get("_meta")
    with tracing.serve(method, scope["headers"], meta, tags) as span:
        note(trace_id=tracing.current_trace_id())
        if (view := scope.get(VIEW)) is not None:
            span.set({"user.id": view.principal.user_id})
        return await answer()


def name_entry(method: str, kind: Kind, name: str) -> None:
    """Name the tool or the prompt of a request once there is one; before that the name is the client's words."""
    if tracing.is_on() and kind in _NAMES:
        span = tracing.current_span()
        span.rename(f"{method} {name}")
        span.set({_NAMES[kind]: name})
