"""Answers in the protocol's form: results as their texts, and the hub's errors as clients and models read them."""

from typing import Any

from mcp import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, SERVER_INFO_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus_hub import __version__
from nexus_hub.errors import HubError, InvalidRequest, NotFound, UpstreamRejected
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import read, write
from nexus_hub.telemetry.trail import note

SERVER_INFO = {"name": "nexus-hub", "title": "nexus-hub", "version": __version__}
_MODERN_HEAD = b'"resultType":"complete","_meta":' + write({SERVER_INFO_META_KEY: SERVER_INFO})


def is_modern(version: str) -> bool:
    """Tell if a protocol version is one of the era without sessions."""
    return version in MODERN_PROTOCOL_VERSIONS


def complete(result: JsonObject, version: str) -> bytes:
    """Give the text of a result as the version has it: the newer era adds its type and says who answers."""
    if not is_modern(version):
        return result.text
    if b'"_meta"' in result.text or b'"resultType"' in result.text:
        value = read(result.text)
        meta = value.get("_meta")
        value["_meta"] = {**(meta if isinstance(meta, dict) else {}), SERVER_INFO_META_KEY: SERVER_INFO}
        return write({"resultType": "complete", **value})
    return _with_head(_MODERN_HEAD, result.text)


def cacheable(result: JsonObject, version: str) -> JsonObject:
    """Give a resource as the newer era has it: for its reader alone, and for as long as its server says, if it does."""
    if not is_modern(version) or (b'"resultType"' in result.text and result.get("resultType") != "complete"):
        return result
    if b'"ttlMs"' not in result.text and b'"cacheScope"' not in result.text:
        return JsonObject(_with_head(b'"ttlMs":0,"cacheScope":"private"', result.text))
    value = read(result.text)
    said = value.get("ttlMs")
    value["ttlMs"] = said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else 0
    return JsonObject(write({**value, "cacheScope": "private"}))


def _with_head(members: bytes, text: bytes) -> bytes:
    inside = text.strip()[1:].lstrip()
    return b"{" + members + (b"" if inside == b"}" else b",") + inside


def error_result(message: str, *, code: str, **members: Any) -> JsonObject:
    """Make a tool's result of an error, which the model reads; `_meta` holds its code for programs."""
    return JsonObject.of(
        {
            "content": [{"type": "text", "text": message}],
            "isError": True,
            "_meta": {"nexus-hub/error": {"code": code, **members}},
        }
    )


def tool_error(error: HubError) -> JsonObject:
    """Make the result of a tool that could not be called, or whose outcome is not known."""
    note(code=error.code)
    members: dict[str, Any] = {}
    for member in ("retry_after", "problems", "link"):
        value = getattr(error, member, None)
        if value is not None:
            members[member] = value
    return error_result(error.message, code=error.code, **members)


def to_rpc_error(error: HubError) -> MCPError:
    """Make the protocol's error of one of the hub's; what a server itself said of a request passes as it said it."""
    note(code=error.code)
    if isinstance(error, UpstreamRejected):
        return MCPError(error.rpc_code, error.rpc_message, error.rpc_data)
    code = INVALID_PARAMS if isinstance(error, InvalidRequest | NotFound) else INTERNAL_ERROR
    data: dict[str, Any] = {"code": error.code}
    if (seconds := getattr(error, "retry_after", None)) is not None:
        data["retryAfter"] = seconds
    if (link := getattr(error, "link", None)) is not None:
        data["link"] = link
    return MCPError(code, error.message, data)
