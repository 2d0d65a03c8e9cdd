"""Two API processes behind a proxy without stickiness: what works in each era, and what is refused in so many words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import mcp_types as types
import pytest
import pytest_asyncio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ToolsListChanged

from tests.fixtures.mcp_raw import CORE, RawClient
from tests.fixtures.round_robin import PROCESSES, Replicas
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")
OVER = 60
SOON = "/mcp?handle=1"
"""The address of a client that takes a handle after a second."""
BOTH = set(range(PROCESSES))
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


class User:
    """A client's ears, and the person who answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.steps: list[float] = []
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def answer(self, context: Any, params: Any) -> types.ElicitResult:
        del context
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada", "colour": "blue"})

    async def note(self, progress: float, total: float | None, message: str | None) -> None:
        del total, message
        self.steps.append(progress)

    async def hear(self, message: Any) -> None:
        self.heard.put_nowait(getattr(getattr(message, "root", message), "method", ""))

    async def hear_of(self, method: str) -> None:
        while await self.heard.get() != method:
            pass

    @asynccontextmanager
    async def at(self, replicas: Replicas, mode: Any, path: str = "/mcp") -> AsyncIterator[Client]:
        async with (
            asyncio.timeout(OVER),
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {SERVICE_KEY}"}, timeout=OVER) as http,
            Client(
                streamable_http_client(replicas.url + path, http_client=http),
                mode=mode,
                cache=None,
                elicitation_callback=self.answer,
                message_handler=self.hear,
            ) as client,
        ):
            yield client


@pytest_asyncio.fixture(loop_scope="module")
async def raw(replicas: Replicas) -> AsyncIterator[RawClient]:
    async with asyncio.timeout(OVER), httpx.AsyncClient(timeout=OVER, trust_env=False) as http:
        yield RawClient(http, f"{replicas.url}/mcp", SERVICE_KEY)


def said(result: Any) -> str:
    text: str = result.content[0].text
    return text


async def until_written(replicas: Replicas, name: str) -> None:
    while not (replicas.folder / name).exists():
        await asyncio.sleep(0.02)


@ERAS
async def test_any_process_lists_and_calls_and_tells_of_progress(replicas: Replicas, mode: str) -> None:
    before, user = len(replicas.proxy.passed), User()
    async with user.at(replicas, mode) as client:
        lists = [[tool.name for tool in (await client.list_tools()).tools] for _ in range(2)]
        assert lists[0] == lists[1]
        assert "lively__echo" in lists[0]
        texts = [f"{mode} {number}" for number in range(6)]
        answers = await asyncio.gather(*(client.call_tool("lively__echo", {"text": text}) for text in texts))
        assert [said(answer) for answer in answers] == texts
        for _ in BOTH:
            await client.call_tool("lively__steps", {"count": 3}, progress_callback=user.note)
        assert user.steps == [1, 2, 3] * PROCESSES
    calls = [number for number, body in replicas.proxy.passed[before:] if "lively__echo" in body]
    assert set(calls) == BOTH


@ERAS
async def test_a_long_call_is_waited_for_at_any_process(replicas: Replicas, mode: str) -> None:
    async with User().at(replicas, mode, SOON) as client:
        handle = await client.call_tool("lively__wait", {"seconds": 3, "tag": f"long-{mode}"})
        job_id = (handle.meta or {})["nexus-hub/job"]
        waits = 0
        while "still runs" in said(handle) or waits == 0:
            handle = await client.call_tool("hub__job_wait", {"id": job_id, "seconds": 1})
            waits += 1
        assert said(handle) == "waited 3.0 s"
        for _ in BOTH:
            assert said(await client.call_tool("hub__job_result", {"id": job_id})) == "waited 3.0 s"
    assert replicas.proxy.numbers_of(job_id) == BOTH


async def test_a_call_of_the_newer_era_is_cancelled_by_leaving(replicas: Replicas) -> None:
    for number in BOTH:
        async with User().at(replicas, "auto") as client:
            arguments = {"seconds": 60, "tag": f"left-{number}"}
            call = asyncio.ensure_future(client.call_tool("lively__wait", arguments))
            await until_written(replicas, f"left-{number}.begun")
            call.cancel()
            await until_written(replicas, f"left-{number}.cancelled")


@ERAS
async def test_a_handed_over_call_is_cancelled_by_any_process(replicas: Replicas, mode: str) -> None:
    async with User().at(replicas, mode, SOON) as client:
        for number in BOTH:
            tag = f"handed-{mode}-{number}"
            handle = await client.call_tool("lively__wait", {"seconds": 60, "tag": tag})
            cancelled = await client.call_tool("hub__job_cancel", {"id": (handle.meta or {})["nexus-hub/job"]})
            assert "is cancelled" in said(cancelled)
            await until_written(replicas, f"{tag}.cancelled")


async def test_rounds_with_a_server_of_the_newer_era_go_on_at_any_process(replicas: Replicas) -> None:
    user = User()
    async with user.at(replicas, "auto") as client:
        for _ in BOTH:
            assert '"name": "Ada"' in said(await client.call_tool("asking__name", {"who": "rounds"}))
            assert said(await client.call_tool("asking__two", {"who": "rounds"})).count("Ada") == 2
    assert user.asked == ["Name of rounds?", "Name of rounds?", "Name of rounds again?"] * PROCESSES


async def test_a_call_that_is_held_open_is_found_by_trying_again(replicas: Replicas, raw: RawClient) -> None:
    call: dict[str, Any] = {"name": "old__name", "arguments": {"who": "held"}}
    wish = (await raw.modern("tools/call", call))["result"]
    answers = {key: {"action": "accept", "content": {"name": "Ada"}} for key in wish["inputRequests"]}
    again = {**call, "inputResponses": answers, "requestState": wish["requestState"]}
    first = await raw.modern("tools/call", again)
    assert (first["error"]["code"], first["error"]["data"]) == (-32602, {"reason": "lost"})
    assert "send the retry again" in first["error"]["message"]
    assert "Ada" in (await raw.modern("tools/call", again))["result"]["content"][0]["text"]


@ERAS
async def test_a_client_hears_of_changed_lists_from_either_process(replicas: Replicas, mode: str) -> None:
    for number in BOTH:
        user, name = User(), f"grown-{mode}-{number}"
        async with user.at(replicas, mode) as client:
            if mode == "auto":
                async with client.listen(tools_list_changed=True) as stream:
                    await client.call_tool("lively__grow", {"name": name})
                    assert await anext(stream) == ToolsListChanged()
            else:
                await client.call_tool("lively__grow", {"name": name})
                await user.hear_of("notifications/tools/list_changed")
            for _ in BOTH:
                assert f"lively__{name}" in {tool.name for tool in (await client.list_tools()).tools}


async def test_a_task_is_made_read_answered_and_told_of_by_any_process(replicas: Replicas, raw: RawClient) -> None:
    call = {"name": "tasks__confirm_delete", "arguments": {"filename": "x"}}
    task_id = (await raw.modern("tools/call", call))["result"]["taskId"]
    async with raw.listening(taskIds=[task_id]) as notices:
        assert (await anext(notices))["params"]["notifications"]["taskIds"] == [task_id]
        working = asyncio.create_task(replicas.work(task_id))
        while (task := (await raw.modern("tasks/get", {"taskId": task_id}))["result"])["status"] != "input_required":
            await asyncio.sleep(0.05)
        answers = {key: {"action": "accept", "content": {"confirm": True}} for key in task["inputRequests"]}
        await raw.modern("tasks/update", {"taskId": task_id, "inputResponses": answers})
        await working
        status = "working"
        while status != "completed":
            notice = await anext(notices)
            assert notice.get("method") == "notifications/tasks", notice
            status = notice["params"]["status"]
    for _ in BOTH:
        ended = (await raw.modern("tasks/get", {"taskId": task_id}))["result"]
        assert ended["result"]["content"][0]["text"] == "confirm=accept"
    assert replicas.proxy.numbers_of("tasks/update") | replicas.proxy.numbers_of("tasks/get") == BOTH


async def test_a_task_is_cancelled_by_any_process(replicas: Replicas, raw: RawClient) -> None:
    for _ in BOTH:
        call = {"name": "tasks__slow_compute", "arguments": {"seconds": 60}}
        task_id = (await raw.modern("tools/call", call))["result"]["taskId"]
        await raw.modern("tasks/cancel", {"taskId": task_id})
        assert (await raw.modern("tasks/get", {"taskId": task_id}))["result"]["status"] == "cancelled"


async def test_a_core_task_is_made_waited_for_listed_and_cancelled_by_any_process(
    replicas: Replicas, raw: RawClient
) -> None:
    await raw.initialize(CORE)
    for _ in BOTH:
        params: dict[str, Any] = {"name": "tasks__greet", "arguments": {"name": "x"}, "task": {}}
        task_id = (await raw.legacy("tools/call", params))["result"]["task"]["taskId"]
        working = asyncio.create_task(replicas.work(task_id))
        result = (await raw.legacy("tasks/result", {"taskId": task_id}))["result"]
        assert result["content"] == [{"type": "text", "text": "Hello, x!"}]
        await working
        listed = (await raw.legacy("tasks/list"))["result"]["tasks"]
        assert task_id in {task["taskId"] for task in listed}
        params = {"name": "tasks__slow_compute", "arguments": {"seconds": 60}, "task": {}}
        task_id = (await raw.legacy("tools/call", params))["result"]["task"]["taskId"]
        assert (await raw.legacy("tasks/cancel", {"taskId": task_id}))["result"]["status"] == "cancelled"


@pytest.mark.parametrize("tool", ["lively__ask", "old__name", "asking__name"])
async def test_a_client_with_a_session_is_told_why_it_is_not_asked(replicas: Replicas, tool: str) -> None:
    user = User()
    async with user.at(replicas, "legacy") as client:
        for _ in BOTH:
            try:
                told = said(await client.call_tool(tool, {}))
            except MCPError as error:
                told = error.error.message
            assert "stickiness" in told
    assert not user.asked


async def test_an_answer_that_comes_to_another_process_ends_the_question(replicas: Replicas, raw: RawClient) -> None:
    keeping, other = (process.url for process in replicas.processes)
    raw.url = f"{keeping}/mcp"
    await raw.initialize(CORE, elicitation={})
    asked: list[str] = []

    def answer_elsewhere(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["params"]["message"])
        raw.url = f"{other}/mcp"
        return {"action": "accept", "content": {"name": "Ada"}}

    call = {"name": "old__name", "arguments": {"who": "far"}}
    result = (await raw.legacy_answering("tools/call", call, answer_elsewhere))["result"]
    assert asked == ["Name of far?"]
    assert "stickiness" in result["content"][0]["text"]


async def test_a_core_task_asks_nobody_whose_answers_would_be_lost(replicas: Replicas, raw: RawClient) -> None:
    await raw.initialize(CORE, elicitation={})
    for _ in BOTH:
        params: dict[str, Any] = {"name": "tasks__confirm_delete", "arguments": {}, "task": {}}
        task_id = (await raw.legacy("tools/call", params))["result"]["task"]["taskId"]
        working = asyncio.create_task(replicas.work(task_id))
        answer = await raw.legacy("tasks/result", {"taskId": task_id})
        said = answer["error"]["message"] if "error" in answer else answer["result"]["content"][0]["text"]
        # the process that keeps the session may not have heard yet that others serve it, too: then it was refused later
        assert "asks for input" in said or said == "confirm=cancel"
        assert answer["before"] == []
        await working


async def test_a_session_is_served_anywhere_but_ended_and_cancelled_where_it_is(
    replicas: Replicas, raw: RawClient
) -> None:
    keeping, other = (f"{process.url}/mcp" for process in replicas.processes)
    raw.url = keeping
    await raw.initialize(CORE)
    call = {"name": "lively__wait", "arguments": {"seconds": 60, "tag": "near"}}
    calling = asyncio.create_task(raw.legacy("tools/call", call))
    await until_written(replicas, "near.begun")
    for raw.url in (other, keeping):
        assert not calling.done()
        await raw.notify("notifications/cancelled", {"requestId": raw.last_id})
    await until_written(replicas, "near.cancelled")
    await calling
    assert await raw.end() == 200
    assert (await raw.legacy("tools/list"))["status"] == 404
    raw.url = other
    assert (await raw.legacy("tools/list"))["status"] == 200


async def test_counters_add_up_and_each_process_has_children_of_its_own(replicas: Replicas) -> None:
    before = [await figures(process.url) for process in replicas.processes]
    user = User()
    async with user.at(replicas, "auto") as client:
        for _ in range(2 * PROCESSES):
            await client.call_tool("asking__capabilities", {})
    after = [await figures(process.url) for process in replicas.processes]
    calls = 'nexus_direct_calls_total{outcome="completed"}'
    grown = [new.get(calls, 0) - old.get(calls, 0) for old, new in zip(before, after, strict=True)]
    assert min(grown) > 0
    assert sum(grown) == 2 * PROCESSES
    assert all(one["nexus_stdio_children"] >= 1 for one in after)
    assert all(one["nexus_stdio_children_bytes"] > 1024 * 1024 for one in after)


async def figures(url: str) -> dict[str, float]:
    """The page of metrics of one process."""
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with httpx.AsyncClient(timeout=OVER, trust_env=False, headers=headers) as http:
        page = await http.get(f"{url}/metrics")
    lines = (line.rpartition(" ") for line in page.text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
