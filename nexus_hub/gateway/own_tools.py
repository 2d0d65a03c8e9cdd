"""The hub's own tools, in every list of tools: with them a client that knows no tasks waits for a long call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.errors import HubError, InvalidRequest, JobEnded, NotFound
from nexus_hub.gateway import job_answers
from nexus_hub.gateway.job_calls import (
    JobParts,
    Row,
    find_call,
    list_calls,
    name_of,
    wait_for_end,
)
from nexus_hub.gateway.names import CANCEL_TOOL, LIST_TOOL, RESULT_TOOL, WAIT_TOOL
from nexus_hub.gateway.pages import DEFAULT_CHARACTERS, LEAST_CHARACTERS, MOST_CHARACTERS, is_over, paginate
from nexus_hub.gateway.places import EVERYWHERE, CallPlace
from nexus_hub.jobs import store
from nexus_hub.models import TERMINAL, JobStatus, Principal
from nexus_hub.servers import registry
from nexus_hub.upstream.requests import OnProgress

Definition = dict[str, Any]
Arguments = dict[str, Any]
LISTED = 20
MOST_LISTED = 100
_ID = {"type": "string", "description": "The job's id, a UUID, as the answer of the call gave it."}
_JOB: Definition = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "tool": {"type": "string"},
        "status": {"enum": list(get_args(JobStatus))},
        "seconds": {"type": "number"},
        "error_code": {"type": ["string", "null"]},
        "message": {"type": "string"},
        "created_at": {"type": "string"},
    },
    "required": ["id", "tool", "status", "seconds"],
}


def _define(
    name: str,
    title: str,
    description: str,
    properties: Definition,
    *,
    required: tuple[str, ...] = (),
    output: Definition | None = None,
    **hints: bool,
) -> Definition:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    definition = {"name": name, "title": title, "description": description, "inputSchema": schema}
    if output is not None:
        definition["outputSchema"] = output
    return definition | {"annotations": {"title": title, "openWorldHint": False} | hints}


# What waits and what fetches answer with the result of any tool, so that they promise no form of it.
_DEFINITIONS: tuple[Definition, ...] = (
    _define(
        WAIT_TOOL,
        "Wait for a job",
        "Wait for the end of a job, and get its result. A call that takes long is answered with the id of a job that "
        "goes on with it: call this tool with that id, and again as long as it says that the job still runs. It waits "
        "for less than a minute at a time, or for the given seconds if these are fewer.",
        {
            "id": _ID,
            "seconds": {
                "type": "number",
                "minimum": 0,
                "description": "How long to wait at most; 0 looks only. Unless given, as long as is allowed at a time.",
            },
        },
        required=("id",),
        readOnlyHint=True,
        idempotentHint=True,
    ),
    _define(
        RESULT_TOOL,
        "Get a job's result",
        "Get the result of a job that has ended, without waiting. A large result comes in pages: the answer says how "
        "many there are and how to ask for the next one; their texts, put together, are the whole text.",
        {
            "id": _ID,
            "page": {"type": "integer", "minimum": 1, "description": "The page of a large result; the first is 1."},
            "page_characters": {
                "type": "integer",
                "minimum": LEAST_CHARACTERS,
                "maximum": MOST_CHARACTERS,
                "description": "The size of a page. Keep it the same for all pages of a result.",
            },
            "part": {
                "enum": ["content", "structured"],
                "description": "The part to get in pages: the content, or the structured content as JSON.",
            },
        },
        required=("id",),
        readOnlyHint=True,
        idempotentHint=True,
    ),
    _define(
        CANCEL_TOOL,
        "Cancel a job",
        "Stop a job that has not ended; its server is told. What it has done by then stays done.",
        {"id": _ID},
        required=("id",),
        output=_JOB,
        readOnlyHint=False,
        destructiveHint=True,
        idempotentHint=True,
    ),
    _define(
        LIST_TOOL,
        "List jobs",
        "List your jobs, the newest first: their ids, the tools that they call, their states and how long they have "
        "taken. Use it to find a job whose id is lost.",
        {
            "status": {"enum": list(get_args(JobStatus)), "description": "Only jobs in this state."},
            "server": {"type": "string", "description": "Only jobs of the server of this name."},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "description": "Jobs in one answer."},
            "cursor": {"type": "string", "description": "The place to go on from, as the answer before gave it."},
        },
        output={
            "type": "object",
            "properties": {"jobs": {"type": "array", "items": _JOB}, "nextCursor": {"type": "string"}},
            "required": ["jobs"],
        },
        readOnlyHint=True,
        idempotentHint=True,
    ),
)
_SCHEMAS: dict[str, Definition] = {one["name"]: one["inputSchema"] for one in _DEFINITIONS}


def definitions() -> list[Definition]:
    """Give the definitions of the hub's own tools, as `tools/list` has them."""
    return list(_DEFINITIONS)


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A call of one of the hub's own tools.

    At the address of a server or bundle only jobs of that `place` are there. `longest_seconds` is how long one may
    wait, so that the answer comes before the client gives up; `page_characters` is how much of a result one answer
    holds, 0 for all.
    """

    parts: JobParts
    principal: Principal
    arguments: Arguments
    longest_seconds: float
    page_characters: int
    on_progress: OnProgress | None
    take_turn: store.TakeTurn
    place: CallPlace


async def call(
    parts: JobParts,
    principal: Principal,
    name: str,
    arguments: Arguments,
    *,
    longest_seconds: float = 50.0,
    page_characters: int = 0,
    on_progress: OnProgress | None = None,
    take_turn: store.TakeTurn = store.take_no_turn,
    place: CallPlace = EVERYWHERE,
) -> dict[str, Any]:
    """Call one of the hub's own tools; its `CallToolResult` as on the wire, which says also why it can't be done.

    Raises:
        NotFound: the hub has no such tool of its own.
    """
    work = _WORK.get(name)
    if work is None:
        raise NotFound("tool", name)
    own = OwnCall(parts, principal, arguments, longest_seconds, page_characters, on_progress, take_turn, place)
    try:
        check_tool_arguments(name, _SCHEMAS[name], arguments)
        if place != EVERYWHERE and "id" in arguments:
            job_id = store.parse_id(arguments["id"].strip())
            known = await find_call(parts.database, principal, job_id)
            place.require("job", job_id, known.server_ref_id, known.called_as)
        return await work(own)
    except NotFound as error:
        return job_answers.failure(f"{error.message} {LIST_TOOL} lists the jobs that you may see.", error.code)
    except HubError as error:
        return job_answers.failure(error.message, error.code)


async def _wait(own: OwnCall) -> dict[str, Any]:
    job_id = store.parse_id(own.arguments["id"].strip())
    asked = own.arguments.get("seconds")
    seconds = own.longest_seconds if asked is None else min(float(asked), own.longest_seconds)
    row = await wait_for_end(
        own.parts, own.principal, job_id, seconds, on_progress=own.on_progress, take_turn=own.take_turn
    )
    return await _answer(own, row)


async def _result(own: OwnCall) -> dict[str, Any]:
    job_id = store.parse_id(own.arguments["id"].strip())
    row = await store.get(own.parts.database, own.principal, job_id, own.take_turn)
    if row["status"] != "completed" or not own.arguments.keys() & {"page", "page_characters", "part"}:
        return await _answer(own, row)
    return paginate(
        job_answers.result_of(row),
        job_id,
        characters=own.arguments.get("page_characters") or own.page_characters or DEFAULT_CHARACTERS,
        page=own.arguments.get("page", 1),
        part=own.arguments.get("part", "content"),
    )


async def _answer(own: OwnCall, row: Row) -> dict[str, Any]:
    """Answer with what a row says: the result, or its first page, or why there is none."""
    known = replace(await find_call(own.parts.database, own.principal, row["id"]), status=row["status"])
    if row["status"] not in TERMINAL:
        return job_answers.still_open(known, row, own.longest_seconds)
    answer = job_answers.ended(known, row)
    if row["status"] == "completed" and is_over(answer, own.page_characters):
        return paginate(answer, row["id"], characters=own.page_characters)
    return answer


async def _cancel(own: OwnCall) -> dict[str, Any]:
    job_id = store.parse_id(own.arguments["id"].strip())
    try:
        await own.parts.submission.cancel(own.principal, job_id)
    except JobEnded as error:
        known = await find_call(own.parts.database, own.principal, job_id)
        if known.status != "cancelled":
            raise InvalidRequest(f"{error.message} {RESULT_TOOL} gives its result.") from None
    return job_answers.cancelled(await find_call(own.parts.database, own.principal, job_id))


async def _list(own: OwnCall) -> dict[str, Any]:
    server = own.arguments.get("server")
    found = None if server is None else (await registry.find(own.parts.database, own.principal, server)).id
    here = own.place.filters
    if found is not None and own.place != EVERYWHERE and found != here["server_ref_id"]:
        raise NotFound("server", server)
    listed = await list_calls(
        own.parts.database,
        own.principal,
        LIST_TOOL,
        status=own.arguments.get("status"),
        **here | ({} if found is None else {"server_ref_id": found}),
        limit=int(own.arguments.get("limit", LISTED)),
        cursor=own.arguments.get("cursor"),
    )
    return job_answers.listing([_describe(row) for row in listed.items], listed.next_cursor)


def _describe(row: Row) -> dict[str, Any]:
    brief = job_answers.describe(row["id"], name_of(row), row["status"], row["seconds"])
    return brief | {"error_code": row["error_code"], "created_at": row["created_at"].isoformat()}


_WORK: dict[str, Callable[[OwnCall], Awaitable[dict[str, Any]]]] = {
    WAIT_TOOL: _wait,
    RESULT_TOOL: _result,
    CANCEL_TOOL: _cancel,
    LIST_TOOL: _list,
}
