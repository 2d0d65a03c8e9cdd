"""Long calls, large results and tasks as clients of the Python SDK see them, in both eras."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from pydantic import Field

from nexus_hub.gateway.pages import PAGE_META
from nexus_hub.jobs.lists import list_jobs
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers import registry
from nexus_hub.servers.policies import PolicyChange, change_policy
from tests.fixtures.mcp_raw import TASKS
from tests.fixtures.served import SERVICE_KEY
from tests.fixtures.tasked import Place
from tests.fixtures.upstreams import own_server

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
LONG = "a long text, line by line\n" * 200
JOB_TOOLS = {"hub__job_wait", "hub__job_result", "hub__job_cancel", "hub__jobs"}


@asynccontextmanager
async def connected(tasked: Place, path: str = "/mcp", **options: Any) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}, timeout=60) as http,
        Client(streamable_http_client(tasked.served.url + path, http_client=http), **options) as client,
    ):
        yield client


def said(result: types.CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return block.text


@ERAS
async def test_a_strict_client_takes_the_handle_of_a_tool_that_promises_a_form(tasked: Place, mode: Any) -> None:
    async with connected(tasked, mode=mode) as client:
        await client.list_tools()
        handed = await client.call_tool("tasks__typed_compute", {"seconds": 3})
        assert handed.is_error
        assert "hub__job_wait" in said(handed)
        assert handed.structured_content is None
        job_id = (handed.meta or {})["nexus-hub/job"]
        async with asyncio.timeout(60):
            while (result := await client.call_tool("hub__job_wait", {"id": job_id})).content:
                assert not result.is_error
        assert result.structured_content == {"answer": 42}


@ERAS
@pytest.mark.parametrize("path", ["/mcp", "/mcp/tasks", "/mcp?tools=search", "/mcp/tasks?tools=search"])
async def test_the_hubs_own_tools_are_in_every_list_and_answer(tasked: Place, mode: Any, path: str) -> None:
    async with connected(tasked, path, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names >= JOB_TOOLS
        listed = await client.call_tool("hub__jobs", {})
        assert listed.structured_content == {"jobs": []}


@ERAS
async def test_a_client_that_asks_for_pages_gets_them_and_others_all_at_once(tasked: Place, mode: Any) -> None:
    await tasked.served.runtime.servers.register("literal", own_server("literal"))
    sent = {"text": json.dumps({"content": [{"type": "text", "text": LONG}], "structuredContent": {"n": 1}})}
    async with connected(tasked, mode=mode) as client:
        assert said(await client.call_tool("literal__say", sent)) == LONG
    async with connected(tasked, "/mcp?page=1000", mode=mode) as client:
        first = await client.call_tool("literal__say", sent)
        known = (first.meta or {})[PAGE_META]
        text = said(first)
        for page in range(2, known["pages"] + 1):
            asked = {"id": known["id"], "page": page, "page_characters": known["characters"]}
            text += said(await client.call_tool("hub__job_result", asked))
        assert text == LONG
        small = {"text": json.dumps({"content": [{"type": "text", "text": "small"}]})}
        assert PAGE_META not in ((await client.call_tool("literal__say", small)).meta or {})
        typed = {tool.name: tool for tool in (await client.list_tools()).tools}["tasks__typed_compute"]
        assert typed.output_schema is None


class CreatedTask(types.Result):
    """What a call is answered with that becomes a task."""

    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")


class TaskParams(types.RequestParams):
    """The parameters of the methods of tasks."""

    task_id: str = Field(alias="taskId")


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    """`tasks/get` of the extension, which the SDK does not have."""

    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class DetailedTask(types.Result):
    """A task with its result."""

    status: str
    result: types.CallToolResult | None = None


class TasksExtension(ClientExtension):
    """A client's side of the tasks extension: it polls."""

    identifier = TASKS

    def claims(self) -> tuple[ResultClaim[Any], ...]:
        """Claim tasks as results of calls."""
        return (ResultClaim(result_type="task", model=CreatedTask, resolve=self.resolve),)

    async def resolve(self, created: CreatedTask, context: ClaimContext) -> types.CallToolResult:
        """Wait for the task's result."""
        async with asyncio.timeout(60):
            while True:
                request = GetTask(params=TaskParams(taskId=created.task_id))
                task = await context.session.send_request(request, DetailedTask)
                if task.result is not None:
                    return task.result
                await asyncio.sleep(0.1)


async def test_a_client_with_the_extension_gets_results_of_tasks_as_of_any_call(tasked: Place) -> None:
    await tasked.worker()
    async with connected(tasked, extensions=[TasksExtension()]) as client:
        assert said(await client.call_tool("tasks__slow_compute", {"seconds": 1, "label": "x"})) == "computed x"


@ERAS
async def test_the_progress_of_a_job_from_the_start_reaches_the_client_that_waits_for_it(
    tasked: Place, mode: Any
) -> None:
    worker, told, served = await tasked.worker(), list[float](), tasked.served
    worker.runtime.execution.recorder.progress_seconds = 0.01
    server = await registry.find(served.database, OPERATOR, "tasks")
    always = PolicyChange(tools={"slow_compute": "always"})
    await change_policy(served.database, ServerRef("system", server.id), always)

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (3, f"step {progress:g}")
        told.append(progress)

    async with connected(tasked, "/mcp?handle=0", mode=mode) as client:
        arguments = {"seconds": 2, "steps": 3, "label": "x"}
        assert said(await client.call_tool("tasks__slow_compute", arguments, progress_callback=note)) == "computed x"
    assert told[-1] in {2, 3}  # the last one may come together with the end
    assert told == sorted(set(told))
    (job,) = (await list_jobs(served.database, OPERATOR))["items"]
    assert job["lane"] == "durable"
