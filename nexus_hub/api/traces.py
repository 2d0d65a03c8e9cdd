"""Spans of requests to the API, by OpenTelemetry's conventions for HTTP: route and status, never what was sent.

`/mcp` has spans of its own: one for each message, whose `_meta` may name the caller's trace.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.api.problems import CODE
from nexus_hub.models import Principal
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.spans import Span
from nexus_hub.telemetry.trail import note

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "_OTHER"


class RequestTraces:
    """Makes a span of each request whose caller is known; a stream's ends as it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note the route and the status."""
        if not tracing.is_on() or not _is_traced(scope):
            await self.app(scope, receive, send)
            return
        principal: Principal = scope["state"]["principal"]
        method = scope["method"] if scope["method"] in METHODS else OTHER
        tags = {"http.request.method": method, "user.id": principal.user_id}
        with tracing.serve(method, scope["headers"], attributes=tags) as span:
            note(trace_id=tracing.current_trace_id())

            async def note_start(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_answer(span, scope, message)
                await send(message)

            await self.app(scope, receive, note_start)


def _is_traced(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"].split("/")[1] != "mcp" and "principal" in scope.get("state", {})


def _note_answer(span: Span, scope: Scope, start: Message) -> None:
    status = int(start["status"])
    span.set({"http.response.status_code": status})
    if scope["method"] in METHODS and (route := scope.get("route")) is not None:
        span.rename(f"{scope['method']} {route.path}")
        span.set({"http.route": route.path})
    if code := scope.get(CODE):
        span.set({"nexus.error.code": code})
    if status >= 500:
        span.fail(str(status))
    if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]):
        span.end()
