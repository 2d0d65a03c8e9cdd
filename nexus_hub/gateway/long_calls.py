"""Long calls: which become tasks, and what their callers are given while the call itself goes on."""

from collections.abc import Mapping
from typing import Any, Literal

from mcp import MCPError
from mcp_types import METHOD_NOT_FOUND

from nexus_hub.execution.flight import Handed, Kept
from nexus_hub.gateway import own_tools
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.entries import Entry
from nexus_hub.gateway.job_answers import handle, result_of
from nexus_hub.gateway.names import OWN_TOOLS
from nexus_hub.gateway.pages import paginate
from nexus_hub.gateway.tasks import CORE_VERSION, Tasks, asks_for_core_task, declares_tasks, missing_capability
from nexus_hub.jobs import store
from nexus_hub.jobs.approvals import read_ask
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import write
from nexus_hub.runtime import Runtime
from nexus_hub.upstream.peer import select_askable

TaskSupport = Literal["required", "optional", "forbidden"]


class LongCalls:
    """Answers calls that outlive an answer.

    A call is a task from its start if its client knows tasks and its tool is marked for them: by its server
    (`execution.taskSupport`), or by the operator, who has it made as a job. Any other call of such a client becomes one
    when it has taken as long as others are given a handle after. Clients of the core tasks ask for each task.
    """

    def __init__(self, runtime: Runtime, tasks: Tasks) -> None:
        self._runtime = runtime
        self._tasks = tasks

    async def call_own(self, asked: Asked) -> dict[str, Any] | None:
        """Call one of the hub's own tools; None if the name is none of these.

        Raises:
            MCPError: it was to be called as a task.
        """
        name = asked.params["name"]
        if name not in OWN_TOOLS:
            return None
        if asks_for_core_task(asked):
            raise _not_as_task(name)
        place, asked = asked.place, asked.without_view()
        result = await own_tools.call(
            self._runtime,
            asked.principal,
            name,
            asked.arguments,
            longest_seconds=asked.wishes.wait_seconds,
            page_characters=asked.wishes.page_characters,
            on_progress=asked.on_progress,
            place=place,
        )
        return asked.answer(JsonObject.of(result))

    async def begin(self, asked: Asked, entry: Entry) -> dict[str, Any] | None:
        """Make a call that is a task from its start; None if it is to be made while its client waits.

        Raises:
            MCPError: the tool and the client do not agree on tasks.
            HubError: as for `Tasks.create`.
        """
        support, is_core = task_support(entry), asks_for_core_task(asked)
        if is_core and support == "forbidden":
            raise _not_as_task(entry.public)
        if support == "required" and asked.is_modern and not declares_tasks(asked):
            raise missing_capability()
        if not is_core and not _is_task(asked, entry, support):
            return None
        request = JobRequest(
            "tool_invoke",
            entry.public,
            asked.arguments,
            timeout_seconds=self._runtime.job_bounds.default_timeout_seconds,
            client_capabilities=_askable(asked) or None,
            by_bundle=entry.by_bundle,
        )
        return await self._tasks.create(asked, entry, request)

    async def hand_over(self, asked: Asked, entry: Entry, name: str, handed: Handed) -> dict[str, Any]:
        """Answer a call that goes on: with its task, or with a handle for a client that knows no tasks."""
        if declares_tasks(asked):
            return await self._tasks.adopt(asked, handed.job_id)
        answer = handle(
            handed.job_id,
            name,
            handed.seconds,
            wait_seconds=asked.wishes.wait_seconds,
            has_output_schema=_promises_form(asked, entry),
            ask=await self._describe_ask(handed) if handed.is_asking else None,
        )
        return asked.answer(JsonObject.of(answer))

    async def _describe_ask(self, handed: Handed) -> str | None:
        """Say who is asked for a yes and where; None if nobody is any more."""
        waiting = await read_ask(self._runtime.database, handed.job_id)
        if waiting is None:
            return None
        deciders = " or ".join(["an operator", *(f"a member of {name}" for name in waiting.approvers)])
        if waiting.self_approval:
            deciders += ", or the person whose call it is, signed in there,"
        return f"{deciders} answers at {self._runtime.settings.public_base}/approvals/{waiting.id}"

    async def show_first_page(self, asked: Asked, kept: Kept) -> dict[str, Any]:
        """Answer with the first page of a large result, if the job of the call has it for the next ones."""
        row = await store.get(self._runtime.database, asked.principal, kept.job_id)
        if not isinstance(row["result"], Mapping):
            return asked.answer(kept.result)
        page = paginate(result_of(row), kept.job_id, characters=asked.wishes.page_characters)
        return asked.answer(JsonObject.of(page))


def _is_task(asked: Asked, entry: Entry, support: TaskSupport | None) -> bool:
    """Tell if a call of a client that declares the extension is a task from its start; a further round is none."""
    if not declares_tasks(asked) or asked.params.keys() & {"inputResponses", "requestState"}:
        return False
    return entry.is_durable or support in {"required", "optional"}


def task_support(entry: Entry) -> TaskSupport | None:
    """Give a server's word on tasks of a tool; None if it has said nothing."""
    execution = entry.definition.get("execution") if b'"execution"' in entry.text else None
    said = execution.get("taskSupport") if isinstance(execution, Mapping) else None
    known: dict[Any, TaskSupport] = {"required": "required", "optional": "optional", "forbidden": "forbidden"}
    return known.get(said) if isinstance(said, str) else None


def _not_as_task(name: str) -> MCPError:
    return MCPError(METHOD_NOT_FOUND, f"The tool {name!r} can't be called as a task.")


def list_tool(asked: Asked, entry: Entry, name: str) -> bytes:
    """Give a tool as a list has it for this client.

    Clients of the core tasks may call by task or not what its server wants called by task only, since the hub makes the
    task, and what the operator has made as jobs.
    Where results come in pages, no output schema is promised, since a page can't keep it.
    """
    changes: dict[str, Any] = {}
    support = task_support(entry) if asked.version == CORE_VERSION else "forbidden"
    if support == "required" or (support is None and entry.is_durable):
        known = entry.definition.get("execution")
        changes["execution"] = {**(known if isinstance(known, Mapping) else {}), "taskSupport": "optional"}
    drops = {"outputSchema"} if asked.wishes.page_characters and b'"outputSchema"' in entry.text else set()
    if not changes and not drops:
        return entry.listed(name)
    kept = {member: value for member, value in entry.definition.items() if member not in drops}
    return write({"name": name, **kept, **changes})


def _promises_form(asked: Asked, entry: Entry) -> bool:
    """Tell if the client was told of a schema that the tool's structured content keeps."""
    return asked.view.mode != "search" and not asked.wishes.page_characters and "outputSchema" in entry.definition


def _askable(asked: Asked) -> dict[str, Any]:
    """Give what the client can be asked in the middle of a call."""
    if asked.session is not None and asked.session.obstacle is not None:
        return {}
    declared = asked.context.session.client_capabilities
    return select_askable(
        {} if declared is None else declared.model_dump(by_alias=True, mode="json", exclude_none=True)
    )
