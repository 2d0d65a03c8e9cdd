"""Tasks: durable jobs for clients that know tasks, by the extension of 2026-07-28 and the core ones of 2025-11-25."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from mcp import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
)

from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.bundled import refuse_kept_back
from nexus_hub.calls.turns import take_turn
from nexus_hub.errors import HubError, InvalidRequest, JobEnded, NotFound
from nexus_hub.gateway.answers import to_rpc_error
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.entries import Entry
from nexus_hub.gateway.job_calls import JobParts, Row, list_calls, wait_for_end
from nexus_hub.gateway.places import CallPlace
from nexus_hub.gateway.task_questions import asking_client
from nexus_hub.gateway.task_states import (
    EXTENSION,
    core_task_of,
    detailed_task_of,
    error_of,
    related,
    task_of,
    tool_result_of,
)
from nexus_hub.jobs import inputs, store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.json_object import JsonObject
from nexus_hub.models import TERMINAL, Principal

CORE_VERSION = "2025-11-25"
"""The one version that has tasks in its core."""
CORE_CAPABILITY: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
REQUIRED: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
LISTED = 50
Method = Callable[[Asked], Awaitable[dict[str, Any]]]


def declares_tasks(asked: Asked) -> bool:
    """Tell if a request's client declares the extension, which it does anew with each one."""
    meta = asked.params.get("_meta")
    capabilities = meta.get(CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, Mapping) else None
    extensions = capabilities.get("extensions") if isinstance(capabilities, Mapping) else None
    return asked.is_modern and isinstance(extensions, Mapping) and isinstance(extensions.get(EXTENSION), Mapping)


def asks_for_core_task(asked: Asked) -> bool:
    """Tell if a call is to be a core task; in other versions the parameter means nothing."""
    return asked.version == CORE_VERSION and isinstance(asked.params.get("task"), Mapping)


def missing_capability() -> MCPError:
    """Make the error for a client that does not declare the extension."""
    message = f"This needs a client that declares the extension {EXTENSION} in the capabilities of its request."
    return MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, message, REQUIRED)


class Tasks:
    """Answers the methods of tasks. A task is a job of the caller's that calls a tool; its id is the job's."""

    def __init__(self, parts: JobParts) -> None:
        self._parts = parts
        self._extension: dict[str, Method] = {
            "tasks/get": self._get,
            "tasks/update": self._update,
            "tasks/cancel": self._cancel,
        }
        self._core: dict[str, Method] = {
            "tasks/get": self._get_core,
            "tasks/result": self._wait_core,
            "tasks/list": self._list_core,
            "tasks/cancel": self._cancel_core,
        }
        self.methods = frozenset(self._extension) | frozenset(self._core)
        """Methods that are answered here, in whichever version."""
        self.on_core_task: Callable[[Asked, UUID], None] = lambda *_: None
        """Called for each request that makes a core task or asks after one."""

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """Answer a method of tasks.

        Raises:
            MCPError: the version does not have it, the client does not declare tasks, or there is no such task.
        """
        method = self._find_method(asked)
        try:
            result = await method(asked)
        except HubError as error:
            refusal = to_rpc_error(error)
        else:
            return asked.answer(JsonObject.of(result))
        raise refusal

    async def create(self, asked: Asked, entry: Entry, request: JobRequest) -> dict[str, Any]:
        """Store a call of a tool as a job, and answer with the task once it is committed.

        Raises:
            InvalidRequest, InvalidArguments, TooLarge, TooMany: nothing is stored.
        """
        request.check(self._parts.job_bounds.timeout_seconds)
        refuse_kept_back(entry.kept_back, request.name, request.arguments)
        async with take_turn():
            check_tool_arguments(request.name, entry.definition.get("inputSchema") or {}, request.arguments)
        resolved = request, entry.ref, entry.name
        row = await self._parts.submission.submit(asked.principal, request, label=request.name, resolved=resolved)
        return asked.answer(JsonObject.of(self._created(asked, row)))

    async def adopt(self, asked: Asked, job_id: UUID) -> dict[str, Any]:
        """Answer with the task of a call that goes on as a job, and whose row is committed.

        Raises:
            NotFound: there is no such job.
        """
        row = await store.get(self._parts.database, asked.principal, job_id)
        return asked.answer(JsonObject.of(self._created(asked, row)))

    async def show(self, principal: Principal, task_id: str, place: CallPlace) -> dict[str, Any]:
        """Show a caller's task as `tasks/get` does, at the address of a server, of a bundle or of all.

        Raises:
            NotFound: the caller has no such task.
        """
        row = await read_task(self._parts, principal, task_id, place)
        return await describe_task(self._parts, principal, row, 0)

    async def show_core(self, principal: Principal, task_id: str, place: CallPlace) -> dict[str, Any]:
        """Show a caller's task as one of the core tasks.

        Raises:
            NotFound: the caller has no such task.
        """
        return await self._describe_core(principal, await read_task(self._parts, principal, task_id, place))

    def _created(self, asked: Asked, row: Row) -> dict[str, Any]:
        if asked.is_modern:
            return {"resultType": "task", **task_of(row)}
        self.on_core_task(asked, row["id"])
        return {"task": core_task_of(row)}

    def _find_method(self, asked: Asked) -> Method:
        name = asked.context.method
        core = self._core if asked.version == CORE_VERSION else {}
        methods = self._extension if asked.is_modern else core
        if name not in methods:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", name)
        if asked.is_modern:
            _check_header(asked)
            if not declares_tasks(asked):
                raise missing_capability()
        return methods[name]

    async def _read(self, asked: Asked) -> Row:
        return await read_task(self._parts, asked.principal, asked.params.get("taskId"), asked.place)

    async def _get(self, asked: Asked) -> dict[str, Any]:
        row = await self._read(asked)
        return await describe_task(self._parts, asked.principal, row, asked.wishes.page_characters)

    async def _update(self, asked: Asked) -> dict[str, Any]:
        """Take answers to what a task asks; those to what it does not ask mean nothing."""
        row = await self._read(asked)
        answers = asked.params.get("inputResponses")
        if not isinstance(answers, Mapping):
            raise InvalidRequest("inputResponses must be an object of answers by the keys of inputRequests.")
        await inputs.answer(self._parts.database, asked.principal, row["id"], answers)
        return {}

    async def _cancel(self, asked: Asked) -> dict[str, Any]:
        row = await self._read(asked)
        with suppress(JobEnded):
            await self._parts.submission.cancel(asked.principal, row["id"])
        return {}

    async def _get_core(self, asked: Asked) -> dict[str, Any]:
        row = await self._read(asked)
        if row["status"] not in TERMINAL:
            self.on_core_task(asked, row["id"])
        return await self._describe_core(asked.principal, row)

    async def _describe_core(self, principal: Principal, row: Row) -> dict[str, Any]:
        return core_task_of(row, waits_for_input=bool(await _read_inputs(self._parts, principal, row)))

    async def _wait_core(self, asked: Asked) -> dict[str, Any]:
        """Wait for a task's end, and answer as the call itself would have been answered."""
        task = await self._read(asked)
        asked = asked.without_view()
        async with asking_client(self._parts, asked, task["id"]):
            row = await wait_for_end(self._parts, asked.principal, task["id"], None, on_progress=asked.on_progress)
        match row["status"]:
            case "completed":
                return related(tool_result_of(row, asked.wishes.page_characters), row["id"])
            case "failed":
                error = error_of(row)
                raise MCPError(error["code"], error["message"], error["data"])
            case "cancelled":
                raise MCPError(INVALID_PARAMS, f"The task {row['id']} was cancelled; it has no result.")
            case _:
                raise MCPError(INVALID_PARAMS, f"The hub stops; ask for the result of task {row['id']} again.")

    async def _list_core(self, asked: Asked) -> dict[str, Any]:
        cursor = asked.params.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise InvalidRequest("cursor must be a text that tasks/list gave.")
        listed = await list_calls(
            self._parts.database,
            asked.principal,
            "tasks/list",
            job_type="tool_invoke",
            limit=LISTED,
            cursor=cursor,
            **asked.place.filters,
        )
        answer: dict[str, Any] = {"tasks": [core_task_of(row | {"error": row["error_code"]}) for row in listed.items]}
        return answer | ({} if listed.next_cursor is None else {"nextCursor": listed.next_cursor})

    async def _cancel_core(self, asked: Asked) -> dict[str, Any]:
        row = await self._read(asked)
        await self._cancel_open(asked, row)
        return core_task_of(await store.get(self._parts.database, asked.principal, row["id"]))

    async def _cancel_open(self, asked: Asked, row: Row) -> None:
        try:
            await self._parts.submission.cancel(asked.principal, row["id"])
        except JobEnded as error:
            message = f"The task {row['id']} has ended and can't be cancelled any more."
            raise InvalidRequest(message) from error


async def read_task(parts: JobParts, principal: Principal, task_id: Any, place: CallPlace) -> Row:
    """Read the job behind a task's id.

    Raises:
        NotFound: the caller has no such task, it is kept no longer, or it is another server's than the address is of.
        InvalidRequest: it is no text.
    """
    if not isinstance(task_id, str):
        raise InvalidRequest("taskId must be the id of a task.")
    try:
        job_id = UUID(task_id)
    except ValueError:
        raise NotFound("task", task_id[:80]) from None
    try:
        row = await store.get(parts.database, principal, job_id)
    except NotFound:
        raise NotFound("task", task_id) from None
    place.require("task", task_id, row["server_ref_id"], row["called_as"])
    if row["job_type"] != "tool_invoke":
        raise NotFound("task", task_id)
    return row


async def describe_task(parts: JobParts, principal: Principal, row: Row, page_characters: int) -> dict[str, Any]:
    """Describe a job as a task with all that its caller can do with it now."""
    asked = await _read_inputs(parts, principal, row)
    return detailed_task_of(row, asked, page_characters=page_characters)


async def _read_inputs(parts: JobParts, principal: Principal, row: Row) -> dict[str, Any]:
    return await inputs.read_open(parts.database, principal, row["id"]) if row["status"] == "running" else {}


def _check_header(asked: Asked) -> None:
    """Hold the header that routes a request against the task that it names: the SDK does so for other methods only.

    Raises:
        MCPError: they differ, or there is no header.
    """
    request = asked.context.request
    task_id = asked.params.get("taskId")
    if request is None or not isinstance(task_id, str):
        return
    if decode_header_value(request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(
            HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId' parameter"
        )
