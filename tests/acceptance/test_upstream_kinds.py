"""server-everything over stdio and over HTTP: each kind of result comes through a job as the server gave it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest
from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import target

pytestmark = [pytest.mark.stack, pytest.mark.node]
DOCUMENT = "demo://resource/static/document/architecture.md"

Case = tuple[dict[str, Any], UpstreamRequest]
WEATHER = {"location": "New York"}
CASES: dict[str, Case] = {
    "a tool with structured content": (
        {"name": "{}__get-structured-content", "arguments": WEATHER},
        ToolCall("get-structured-content", WEATHER),
    ),
    "a tool with an image": ({"name": "{}__get-tiny-image"}, ToolCall("get-tiny-image")),
    "a tool that fails": (
        {"name": "{}__get-resource-reference", "arguments": {"resourceType": "Text", "resourceId": -1}},
        ToolCall("get-resource-reference", {"resourceType": "Text", "resourceId": -1}),
    ),
    "a resource": (
        {"job_type": "resource_fetch", "name": {"server": "{}", "uri": DOCUMENT}},
        ResourceRead(DOCUMENT),
    ),
    "a prompt": (
        {"job_type": "prompt_execute", "name": "{}__args-prompt", "arguments": {"city": "Rome"}},
        PromptGet("args-prompt", {"city": "Rome"}),
    ),
}


@pytest_asyncio.fixture(params=["stdio", "http"])
async def everything(
    hub: Hub, request: pytest.FixtureRequest, everything_stdio: StdioConfig, everything_http: HttpConfig
) -> AsyncIterator[tuple[str, HttpConfig | StdioConfig]]:
    """server-everything registered with the hub, and how to reach it without the hub."""
    config = everything_stdio if request.param == "stdio" else everything_http
    name = f"every-{request.param}"
    how = ["--url", config.url] if isinstance(config, HttpConfig) else ["--command", config.command]
    added = hub.run("server", "add", name, *how)
    assert added.code == 0, added.err
    yield name, config
    assert hub.run("server", "remove", name).code == 0


async def test_each_kind_of_result_comes_through_as_the_server_gave_it(
    hub: Hub, everything: tuple[str, HttpConfig | StdioConfig], connections: Connections
) -> None:
    name, config = everything
    for what, (body, request) in CASES.items():
        job = hub.called(_named(body, name))
        assert job["status"] == "completed", (what, job["error"])
        assert job["result"] == await connections.request(target(config), request, timeout=30), what
        assert hub.flow_run(job["flow_run_id"])["state"]["name"] == "Completed"
        match what:
            case "a tool with structured content":
                assert job["result"]["structuredContent"]["conditions"]
            case "a tool with an image":
                assert any(one["type"] == "image" and one["data"] for one in job["result"]["content"])
            case "a tool that fails":
                assert job["result"]["isError"] is True
            case "a resource":
                assert job["result"]["contents"][0]["uri"] == DOCUMENT
            case _:
                assert "Rome" in job["result"]["messages"][0]["content"]["text"]


def _named(body: dict[str, Any], server: str) -> dict[str, Any]:
    name = body["name"]
    named = name.format(server) if isinstance(name, str) else name | {"server": server}
    return body | {"name": named}


async def test_the_command_line_shows_a_tools_own_error_and_exits_with_1(
    hub: Hub, everything: tuple[str, HttpConfig | StdioConfig]
) -> None:
    arguments = '{"resourceType": "Text", "resourceId": -1}'
    called = hub.run("call", f"{everything[0]}__get-resource-reference", arguments)
    assert called.code == 1
    assert "Invalid resourceId" in called.out + called.err
    assert "completed" in called.out
