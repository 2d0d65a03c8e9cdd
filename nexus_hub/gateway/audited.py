"""The audit of `/mcp`: one seam, by a request's method, its caller and what came of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from mcp import MCPError
from mcp.server.context import HandlerResult
from mcp_types import INVALID_PARAMS

from nexus_hub.audit.entries import AuditEntry, AuditSource, client_of, outcome_of
from nexus_hub.audit.writer import AuditWriter
from nexus_hub.gateway.asked import Context
from nexus_hub.gateway.names import CANCEL_TOOL
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.trail import Trail, keep_trail

ACTIONS = {
    "tools/list": "tool.list",
    "tools/call": "tool.call",
    "prompts/list": "prompt.list",
    "prompts/get": "prompt.get",
    "resources/list": "resource.list",
    "resources/templates/list": "resource.list",
    "resources/read": "resource.read",
    "tasks/cancel": "job.cancel",
    "tasks/update": "job.answer",
    "tasks/result": "job.answer",
}
"""The methods that leave an entry, and what that says was done; one that waits does if it was answered on the way."""
_WAITING = "tasks/result"
UNNOTED = frozenset(
    {"initialize", "ping", "server/discover", "logging/setLevel", "completion/complete"}
    | {"subscriptions/listen", "resources/subscribe", "resources/unsubscribe"}
    | {"tasks/get", "tasks/list"}
)
"""The other methods: they change nothing that outlives the caller's own connection or session."""


class CallAudit:
    """Has an entry written of each request that the audit is to know; no request waits for it."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer

    async def follow(self, context: Context, answer: Callable[[], Awaitable[HandlerResult]]) -> HandlerResult:
        """Answer a request, and note what came of it."""
        action = ACTIONS.get(context.method)
        if action is None or context.request is None:
            return await answer()
        source, code = _source_of(context), "internal-error"
        with keep_trail() as trail:
            _note_params(trail, action, context.params or {})
            try:
                result = await answer()
                code = trail.code or ""
            except asyncio.CancelledError:
                code = "cancelled"
                raise
            except MCPError as error:
                code = trail.code or ("not-found" if error.error.code == INVALID_PARAMS else "refused-request")
                raise
            finally:
                if context.method == _WAITING:
                    code = ""  # the answers were taken, whatever came of the wait
                entry = AuditEntry.of(_action_of(action, trail), source, trail, outcome_of(code or None), code or None)
                if context.method != _WAITING or trail.arguments is not None:
                    self._writer.put(entry)
        return result


def _action_of(action: str, trail: Trail) -> str:
    return "job.cancel" if action == "tool.call" and trail.target == CANCEL_TOOL else action


def _source_of(context: Context) -> AuditSource:
    """Say who asks: the caller that the endpoint has let in, by the client that it says it is."""
    request = context.request
    assert request is not None  # noqa: S101 - the gateway is served over HTTP
    declared = context.session.client_params
    info = None if declared is None else client_of(declared.client_info.model_dump(mode="json"))
    return AuditSource(
        request.scope["state"]["principal"],
        info or request.headers.get("user-agent"),
        request.client.host if request.client else None,
        tracing.claimed_trace_id(request.scope["headers"], (context.params or {}).get("_meta")),
    )


def _note_params(trail: Trail, action: str, params: Mapping[str, Any]) -> None:
    """Note the name that is asked for, or the job; a resource's URI may say more than a name does."""
    if action in {"tool.call", "prompt.get"} and isinstance(name := params.get("name"), str):
        trail.target = name
    arguments = params.get("arguments")
    job_id = params.get("taskId") or (arguments.get("id") if isinstance(arguments, Mapping) else None)
    if action == "job.answer":
        trail.arguments = params.get("inputResponses")
    if action in {"job.cancel", "job.answer"} or trail.target == CANCEL_TOOL:
        with suppress(ValueError):
            trail.job_id = UUID(str(job_id))
