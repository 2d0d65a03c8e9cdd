"""Requests and results as they are on the wire, passed through without loss."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, assert_never

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp.shared.dispatcher import CallOptions
from mcp_types import CLIENT_CAPABILITIES_META_KEY, HEADER_MISMATCH, LOG_LEVEL_META_KEY, SERVER_INFO_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel

from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import read
from nexus_hub.telemetry import tracing
from nexus_hub.upstream import cut_results
from nexus_hub.upstream.meta import select_forwarded
from nexus_hub.upstream.notices import read_level
from nexus_hub.upstream.requests import (
    Completion,
    InputRound,
    OnProgress,
    PromptGet,
    ResourceRead,
    ToolCall,
    UpstreamRequest,
)
from nexus_hub.upstream.results import find_fault

Wire = RootModel[dict[str, Any]]
"""A result kept as the JSON object that arrived; the SDK still checks it against the protocol."""
MAX_RELIST_PAGES = 100
KNOCK_SECONDS = 5.0
"""The time that a server has to give a sign of life."""
CORE_TASKS_VERSION = "2025-11-25"
"""The one version whose core has tasks."""
RELATED_TASK = "io.modelcontextprotocol/related-task"


class InputRequired(Exception):
    """A result that is no end of the call: `kind` is its type, such as `input_required`, and `result` is all of it."""

    def __init__(self, kind: str, result: Mapping[str, Any]) -> None:
        self.kind = kind
        self.result = result
        super().__init__(kind)


class MalformedAnswer(Exception):
    """A result that breaks the protocol: `place` says where, `answer` is it."""

    def __init__(self, place: str, answer: Mapping[str, Any]) -> None:
        self.place = place
        self.answer = answer
        super().__init__(place)


async def send(
    session: ClientSession,
    request: UpstreamRequest,
    on_progress: OnProgress | None,
    *,
    capabilities: Mapping[str, Any] | None = None,
) -> JsonObject:
    """Send one request and return its result as on the wire, less what only the transport needs.

    `capabilities` are those of the client behind the call, which 2026-07-28 names with each request.

    Raises MCPError, InputRequired, and MalformedAnswer for a result that breaks the protocol.
    """
    try:
        result = await _send_once(session, request, on_progress, capabilities)
    except MCPError as error:
        if error.code != HEADER_MISMATCH or not isinstance(request, ToolCall):
            raise
        await _learn_headers(session, request.name)
        result = await _send_once(session, request, on_progress, capabilities)
    text = cut_results.take(result)
    modern = session.protocol_version in MODERN_PROTOCOL_VERSIONS
    if place := find_fault(request, result, modern=modern):
        raise MalformedAnswer(place, result if text is None else text)
    kind = result.get("resultType", "complete")
    if modern and kind != "complete":
        raise InputRequired(kind, _strip_transport({**result, **(text or {})}))
    return JsonObject.of(_strip_transport(result)) if text is None else text


async def ping(session: ClientSession, seconds: float) -> None:
    """Wait until the server has answered a ping in whatever way, or is gone, but not longer than so many seconds."""
    with suppress(MCPError):
        await exchange(session, "ping", {}, {"timeout": seconds})


async def knock(session: ClientSession) -> None:
    """Ask for any answer at all, by what costs a server of either era least.

    Raises:
        MCPError: it answered with an error.
        TimeoutError: it did not answer.
    """
    method = "server/discover" if session.protocol_version in MODERN_PROTOCOL_VERSIONS else "ping"
    async with asyncio.timeout(KNOCK_SECONDS):
        await exchange(session, method, {}, {})


async def exchange(
    session: ClientSession,
    method: str,
    params: dict[str, Any],
    options: CallOptions,
    capabilities: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Send a request past the SDK's own forms of it and of its result.

    It would write numbers in a form of its own, gives nothing of a result that it refuses, and refuses deep ones.
    """
    data = {"method": method, "params": params}
    session._stamp(data, options)
    if capabilities and CLIENT_CAPABILITIES_META_KEY in (meta := params.get("_meta", {})):
        meta[CLIENT_CAPABILITIES_META_KEY] = dict(capabilities)
    return await session._dispatcher.send_raw_request(method, params, options)


async def _send_once(
    session: ClientSession,
    request: UpstreamRequest,
    on_progress: OnProgress | None,
    capabilities: Mapping[str, Any] | None,
) -> dict[str, Any]:
    options: CallOptions = {}
    reporter = None if on_progress is None else _ProgressReporter(on_progress)
    if reporter is not None:
        options["on_progress"] = reporter
    method, params = _to_wire(request)
    if (context := tracing.current_context()) is not None:
        params["_meta"] = context.put_into(params.get("_meta", {}))
        options["headers"] = context.members()
    if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
        params |= _write_round(request)
        if level := read_level(request.meta):
            params["_meta"] = {**params.get("_meta", {}), LOG_LEVEL_META_KEY: level}
    if isinstance(request, ToolCall) and request.as_task and session.protocol_version == CORE_TASKS_VERSION:
        result = await _exchange_as_task(session, method, params, options)
    else:
        result = await exchange(session, method, params, options, capabilities)
    if reporter is not None:
        await reporter.idle.wait()
    return result


async def _exchange_as_task(
    session: ClientSession, method: str, params: dict[str, Any], options: CallOptions
) -> dict[str, Any]:
    """Send a request as a core task of 2025-11-25, and wait for the result; who gives up cancels the task."""
    created = await exchange(session, method, params | {"task": {}}, options)
    task = created.get("task")
    task_id = task.get("taskId") if isinstance(task, Mapping) else None
    if not isinstance(task_id, str):
        return created  # the server has answered at once
    try:
        return _without_task(await exchange(session, "tasks/result", {"taskId": task_id}, {}))
    except asyncio.CancelledError:
        cancelling = asyncio.ensure_future(exchange(session, "tasks/cancel", {"taskId": task_id}, {"timeout": 5}))
        cancelling.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def _without_task(result: dict[str, Any]) -> dict[str, Any]:
    """Give a result less the id of the server's task, which nobody else can use."""
    text = cut_results.take(result)
    whole: dict[str, Any] = result if text is None else read(text.text)
    meta = whole.get("_meta")
    if isinstance(meta, dict):
        meta.pop(RELATED_TASK, None)
        if not meta:
            del whole["_meta"]
    return whole


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


def _to_wire(request: UpstreamRequest) -> tuple[str, dict[str, Any]]:
    """Give the method of a request and its parameters."""
    method, params = _to_call(request)
    meta = select_forwarded(request.meta)
    return method, params | {"_meta": meta} if meta else params


def _to_call(request: UpstreamRequest) -> tuple[str, dict[str, Any]]:
    match request:
        case ToolCall(name, arguments):
            return "tools/call", {"name": name, "arguments": arguments}
        case ResourceRead(uri):
            return "resources/read", {"uri": uri}
        case PromptGet(name, prompt_arguments):
            return "prompts/get", {"name": name, "arguments": prompt_arguments}
        case Completion(ref, argument, context):
            params = {"ref": ref, "argument": argument}
            return "completion/complete", params if context is None else params | {"context": context}
    assert_never(request)


def _write_round(request: InputRound) -> dict[str, Any]:
    members = {"inputResponses": request.input_responses, "requestState": request.request_state}
    return {name: value for name, value in members.items() if value is not None}


async def _learn_headers(session: ClientSession, tool: str) -> None:
    """Let the session see the tool's listing, which says which arguments it wants in HTTP headers too."""
    cursor: str | None = None
    for _ in range(MAX_RELIST_PAGES):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        cursor = page.next_cursor
        if cursor is None or any(each.name == tool for each in page.tools):
            return


def _strip_transport(result: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in result.items() if key != "resultType"}
    meta = plain.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO_META_KEY in meta:
        plain["_meta"] = {key: value for key, value in meta.items() if key != SERVER_INFO_META_KEY}
        if not plain["_meta"]:
            del plain["_meta"]
    return plain
