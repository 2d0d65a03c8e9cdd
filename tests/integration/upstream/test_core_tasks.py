"""Tools that a server of 2025-11-25 takes as core tasks only, called like any other."""

import asyncio

import pytest

from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR
from nexus_hub.upstream.config import StdioConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import ToolCall
from nexus_hub.upstream.wire import RELATED_TASK
from tests.fixtures.library import Library
from tests.fixtures.upstreams import target

TOOL = "simulate-research-query"


async def test_a_tool_that_can_only_be_a_task_gives_its_result(library: Library, everything_stdio: StdioConfig) -> None:
    await library.servers.register("every", everything_stdio)
    request = JobRequest("tool_invoke", f"every__{TOOL}", {"topic": "bread"})
    job_id = await library.submitted(request)
    assert await library.ran(job_id) == "completed"
    result = (await store.get(library.database, OPERATOR, job_id))["result"]
    assert isinstance(result, JsonObject)
    assert "bread" in result["content"][0]["text"]
    assert RELATED_TASK not in result.get("_meta", {})


async def test_whoever_gives_up_leaves_the_session_to_others(
    connections: Connections, everything_stdio: StdioConfig
) -> None:
    every = target(everything_stdio)
    call = ToolCall(TOOL, {"topic": "bread"}, as_task=True)
    giving_up = asyncio.create_task(connections.request(every, call, timeout=60))
    await connections.request(every, ToolCall("echo", {"message": "x"}), timeout=60)
    giving_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving_up
    result = await connections.request(every, ToolCall("echo", {"message": "x"}), timeout=60)
    assert result["content"][0]["text"] == "Echo: x"
