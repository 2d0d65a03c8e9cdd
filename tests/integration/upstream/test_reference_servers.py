"""The reference servers, over both transports and in both protocol eras: results arrive as they were sent."""

from typing import Any

import pytest

from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall
from tests.fixtures.upstreams import target


@pytest.fixture(params=["stdio", "http"])
def everything(request: pytest.FixtureRequest) -> Target:
    config: HttpConfig | StdioConfig = request.getfixturevalue(f"everything_{request.param}")
    return target(config, name="everything")


async def test_a_tool_of_the_time_server_answers_with_structured_content(
    connections: Connections, time_server: StdioConfig
) -> None:
    call = ToolCall("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"})
    result = await connections.request(target(time_server), call, timeout=30)
    assert result["structuredContent"]["target"]["timezone"] == "Asia/Tokyo"
    assert set(result) == {"content", "structuredContent", "isError"}


async def test_the_time_server_is_inspected_in_the_era_without_sessions(
    connections: Connections, time_server: StdioConfig
) -> None:
    snapshot = await connections.inspect(target(time_server))
    assert snapshot.protocol_version == "2026-07-28"
    assert sorted(tool["name"] for tool in snapshot.tools) == ["convert_time", "get_current_time"]
    assert all("inputSchema" in tool for tool in snapshot.tools)
    assert snapshot.server_info is not None
    assert snapshot.server_info["name"] == "mcp-time"


async def test_a_server_that_is_installed_beside_the_hub_is_found_without_its_path(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    snapshot = await connections.inspect(target(StdioConfig(command="mcp-server-time", args=("--local-timezone=UTC",))))
    assert len(snapshot.tools) == 2


@pytest.mark.node
async def test_everything_is_inspected_with_resources_templates_and_prompts(
    connections: Connections, everything: Target
) -> None:
    snapshot = await connections.inspect(everything)
    assert snapshot.protocol_version == "2025-11-25"
    assert {"echo", "get-structured-content", "get-tiny-image"} <= {tool["name"] for tool in snapshot.tools}
    assert snapshot.resources
    assert snapshot.resource_templates
    assert {"simple-prompt", "args-prompt"} <= {prompt["name"] for prompt in snapshot.prompts}
    assert snapshot.instructions is not None


@pytest.mark.node
async def test_structured_content_arrives_beside_its_text(connections: Connections, everything: Target) -> None:
    call = ToolCall("get-structured-content", {"location": "Chicago"})
    result = await connections.request(everything, call, timeout=30)
    assert result["structuredContent"]["conditions"]
    assert result["content"][0]["type"] == "text"


@pytest.mark.node
async def test_an_image_arrives_with_its_type_and_data(connections: Connections, everything: Target) -> None:
    result = await connections.request(everything, ToolCall("get-tiny-image"), timeout=30)
    [image] = [part for part in result["content"] if part["type"] == "image"]
    assert image["mimeType"] == "image/png"
    assert image["data"].startswith("iVBOR")


@pytest.mark.node
async def test_resource_links_and_annotations_arrive(connections: Connections, everything: Target) -> None:
    links = await connections.request(everything, ToolCall("get-resource-links", {"count": 2}), timeout=30)
    assert [part["type"] for part in links["content"]].count("resource_link") == 2
    call = ToolCall("get-annotated-message", {"messageType": "error", "includeImage": False})
    annotated = await connections.request(everything, call, timeout=30)
    assert annotated["content"][0]["annotations"] == {"priority": 1, "audience": ["user", "assistant"]}


@pytest.mark.node
@pytest.mark.parametrize("call", [ToolCall("echo", {}), ToolCall("no-such-tool", {})])
async def test_a_tool_that_fails_is_a_result_that_says_so(
    connections: Connections, everything: Target, call: ToolCall
) -> None:
    result = await connections.request(everything, call, timeout=30)
    assert result["isError"] is True


@pytest.mark.node
async def test_a_listed_resource_is_read(connections: Connections, everything: Target) -> None:
    uri = (await connections.inspect(everything)).resources[0]["uri"]
    result = await connections.request(everything, ResourceRead(uri), timeout=30)
    assert result["contents"][0]["uri"] == uri
    assert result["contents"][0]["text"]


@pytest.mark.node
async def test_a_prompt_with_arguments_is_filled_in(connections: Connections, everything: Target) -> None:
    request = PromptGet("args-prompt", {"city": "Oslo", "state": "Norway"})
    result = await connections.request(everything, request, timeout=30)
    assert "Oslo" in result["messages"][0]["content"]["text"]


@pytest.mark.node
async def test_progress_is_told_while_the_call_runs(connections: Connections, everything: Target) -> None:
    told: list[tuple[Any, ...]] = []

    async def on_progress(*step: Any) -> None:
        told.append(step)

    call = ToolCall("trigger-long-running-operation", {"duration": 0.6, "steps": 3})
    result = await connections.request(everything, call, timeout=30, on_progress=on_progress)
    assert "completed" in result["content"][0]["text"]
    assert [step[:2] for step in told] == [(1, 3), (2, 3), (3, 3)]
