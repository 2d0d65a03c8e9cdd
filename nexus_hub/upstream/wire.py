"""Requests and results as they are on the wire, passed through without loss."""

import asyncio
from collections.abc import Mapping
from typing import Any, assert_never

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp.shared.dispatcher import CallOptions
from mcp_types import HEADER_MISMATCH, SERVER_INFO_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel

from nexus_hub.json_object import JsonObject
from nexus_hub.upstream import cut_results
from nexus_hub.upstream.requests import OnProgress, PromptGet, ResourceRead, ToolCall, UpstreamRequest
from nexus_hub.upstream.results import find_fault

Wire = RootModel[dict[str, Any]]
"""A result kept as the JSON object that arrived; the SDK still checks it against the protocol."""
MAX_RELIST_PAGES = 100


class InputRequired(Exception):
    """A server's wish for input of the user in the middle of a call, which the hub does not offer."""


class MalformedAnswer(Exception):
    """A result that breaks the protocol: `place` says where, `answer` is it."""

    def __init__(self, place: str, answer: Mapping[str, Any]) -> None:
        self.place = place
        self.answer = answer
        super().__init__(place)


async def send(session: ClientSession, request: UpstreamRequest, on_progress: OnProgress | None) -> JsonObject:
    """Send one request and return its result as on the wire, less what only the transport needs.

    Raises MCPError, InputRequired, and MalformedAnswer for a result that breaks the protocol.
    """
    try:
        result = await _send_once(session, request, on_progress)
    except MCPError as error:
        if error.code != HEADER_MISMATCH or not isinstance(request, ToolCall):
            raise
        await _learn_headers(session, request.name)
        result = await _send_once(session, request, on_progress)
    text = cut_results.take(result)
    modern = session.protocol_version in MODERN_PROTOCOL_VERSIONS
    if place := find_fault(request, result, modern=modern):
        raise MalformedAnswer(place, result if text is None else text)
    plain = _strip_transport(result, modern=modern)
    return JsonObject.of(plain) if text is None else text


async def _send_once(
    session: ClientSession, request: UpstreamRequest, on_progress: OnProgress | None
) -> dict[str, Any]:
    """Send past the SDK's own check of the result: it gives nothing of one that it refuses, and refuses deep ones."""
    data = _to_sdk(request).model_dump(by_alias=True, mode="json", exclude_none=True)
    options: CallOptions = {}
    session._stamp(data, options)
    reporter = None if on_progress is None else _ProgressReporter(on_progress)
    if reporter is not None:
        options["on_progress"] = reporter
    result = await session._dispatcher.send_raw_request(data["method"], data.get("params"), options)
    if reporter is not None:
        await reporter.idle.wait()
    return result


class _ProgressReporter:
    """Reports progress in order and one at a time; of what a chatty server sends meanwhile the last counts.

    The SDK starts a task for each notification: reported at once, they would overtake each other.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._latest: tuple[float, float | None, str | None] | None = None
        self.idle = asyncio.Event()
        self.idle.set()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self._latest = progress, total, message
        if not self.idle.is_set():
            return
        self.idle.clear()
        try:
            while (latest := self._latest) is not None:
                self._latest = None
                await self._on_progress(*latest)
        finally:
            self.idle.set()


def _to_sdk(request: UpstreamRequest) -> types.ClientRequest:
    match request:
        case ToolCall(name, arguments):
            return types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
        case ResourceRead(uri):
            return types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri=uri))
        case PromptGet(name, prompt_arguments):
            params = types.GetPromptRequestParams(name=name, arguments=prompt_arguments)
            return types.GetPromptRequest(params=params)
    assert_never(request)


async def _learn_headers(session: ClientSession, tool: str) -> None:
    """Let the session see the tool's listing, which says which arguments it wants in HTTP headers too."""
    cursor: str | None = None
    for _ in range(MAX_RELIST_PAGES):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        cursor = page.next_cursor
        if cursor is None or any(each.name == tool for each in page.tools):
            return


def _strip_transport(result: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    kind = result.get("resultType", "complete")
    if modern and kind != "complete":
        raise InputRequired(kind)
    plain = {key: value for key, value in result.items() if key != "resultType"}
    meta = plain.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO_META_KEY in meta:
        plain["_meta"] = {key: value for key, value in meta.items() if key != SERVER_INFO_META_KEY}
        if not plain["_meta"]:
            del plain["_meta"]
    return plain
