"""Spans of calls to servers, by OpenTelemetry's conventions for MCP: the client's side of a request.

Source: OpenTelemetry semantic conventions, Model Context Protocol, client spans.
"""

from nexus_hub.json_object import JsonObject
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.spans import Attributes, Span
from nexus_hub.upstream.config import StdioConfig
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest

TOOL_ERROR = "tool_error"
MOST_READ_BYTES = 64 * 1024
"""A larger result is not read only to find out if it tells of an error."""


def call_span(target: Target, request: UpstreamRequest) -> Span:
    """Make the span of a call; of the request it names the method, and the tool or the prompt."""
    if not tracing.is_on():
        return tracing.NO_SPAN
    method, named = _describe(request)
    attributes: Attributes = {
        "mcp.method.name": method,
        "mcp.protocol.version": target.protocol_version,
        "network.transport": "pipe" if isinstance(target.config, StdioConfig) else "tcp",
        "nexus.server.id": target.ref.server_ref_id,
        "nexus.server.name": target.name,
        **named,
    }
    name = next(iter(named.values()), None)
    return tracing.span(method if name is None else f"{method} {name}", "client", attributes)


def note_result(span: Span, result: JsonObject) -> None:
    """Take note of a result that tells of an error of the tool."""
    if tracing.is_on() and len(result.text) <= MOST_READ_BYTES and result.get("isError") is True:
        span.fail(TOOL_ERROR)


def _describe(request: UpstreamRequest) -> tuple[str, dict[str, str]]:
    match request:
        case ToolCall(name):
            return "tools/call", {"gen_ai.tool.name": name}
        case PromptGet(name):
            return "prompts/get", {"gen_ai.prompt.name": name}
        case ResourceRead():
            return "resources/read", {}
        case Completion():
            return "completion/complete", {}
