"""Resources, templates, completion and log messages through `/mcp`, in both eras of the protocol."""

import asyncio
import json
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from tests.fixtures.served import Served
from tests.fixtures.upstreams import own_server
from tests.integration.gateway.test_listing_and_calling import ERAS, connected


async def registered(served: Served, *names: str) -> None:
    for name in names:
        await served.runtime.servers.register(name, own_server("speaking"))


@ERAS
async def test_resources_and_templates_are_listed_apart(served: Served, mode: str) -> None:
    await registered(served, "one")
    async with connected(served, mode=mode) as client:
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
    assert [resource.uri for resource in resources] == ["speak://a"]
    assert [template.uri_template for template in templates] == ["speak://{name}"]


@ERAS
@pytest.mark.parametrize("uri", ["speak://a", "speak://anything"])
async def test_a_resource_is_read_by_its_uri_or_by_a_template_that_it_matches(
    served: Served, mode: str, uri: str
) -> None:
    await registered(served, "one")
    async with connected(served, mode=mode) as client:
        assert (await client.read_resource(uri)).contents[0].uri == uri
        with pytest.raises(MCPError, match="no resource") as refused:
            await client.read_resource("elsewhere://a")
    assert refused.value.error.code == -32602


@ERAS
async def test_what_two_servers_offer_is_read_at_the_address_of_one(served: Served, mode: str) -> None:
    await registered(served, "one", "two")
    async with connected(served, mode=mode) as client:
        for uri in ("speak://a", "speak://b"):
            with pytest.raises(MCPError, match=r"one, two\. .*/mcp/<server>"):
                await client.read_resource(uri)
    async with connected(served, "/mcp/two", mode=mode) as client:
        assert (await client.read_resource("speak://a")).contents
        assert (await client.read_resource("unlisted://x")).contents, "a server need not list all that it has"


@ERAS
async def test_an_argument_of_a_template_is_completed_by_its_server(served: Served, mode: str) -> None:
    await registered(served, "one")
    reference = types.ResourceTemplateReference(uri="speak://{name}")
    async with connected(served, mode=mode) as client:
        result = await client.complete(reference, {"name": "name", "value": "x"})
        assert result.completion.values[:3] == ["ref/resource", "name", "x"]
        with pytest.raises(MCPError, match="no resource"):
            await client.complete(types.ResourceTemplateReference(uri="else://{x}"), {"name": "x", "value": ""})


@ERAS
async def test_trace_context_reaches_the_server_and_the_clients_own_words_do_not(served: Served, mode: str) -> None:
    await registered(served, "one")
    meta: Any = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "com.example/a": 1}
    async with connected(served, mode=mode, client_info=types.Implementation(name="theirs", version="1")) as client:
        result = await client.call_tool("one__echo", {}, meta=meta)
    arrived = (result.structured_content or {})["meta"]
    assert {key: arrived[key] for key in meta} == meta
    assert "theirs" not in json.dumps(arrived)


@ERAS
async def test_what_a_server_adds_is_told_to_clients_as_it_happens(served: Served, mode: str) -> None:
    await registered(served, "one")
    async with asyncio.timeout(30), connected(served, mode=mode, cache=None) as client:
        await client.call_tool("one__grow", {})
        while "one__grown-6" not in [tool.name for tool in (await client.list_tools()).tools]:
            await asyncio.sleep(0.1)


async def test_a_session_chooses_the_level_of_the_log_messages_of_its_calls(served: Served) -> None:
    await registered(served, "one")
    heard: list[object] = []

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    async with connected(served, mode="legacy", logging_callback=hear) as client:
        for chosen in (None, "error", "debug"):
            if chosen is not None:
                await client.session.set_logging_level(chosen)
            for level in ("debug", "info", "error"):
                await client.call_tool("one__log", {"texts": [f"{chosen} {level}"], "level": level})
        assert client.server_capabilities.logging is not None
    assert heard == ["None info", "None error", "error error", "debug debug", "debug info", "debug error"]


async def test_a_client_of_today_hears_the_messages_that_its_request_asks_for(served: Served) -> None:
    await registered(served, "one")
    heard: list[object] = []

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    async with connected(served, logging_callback=hear) as client:
        await client.call_tool("one__log", {"texts": ["unasked"]})
        meta: Any = {"io.modelcontextprotocol/logLevel": "info"}
        await client.call_tool("one__log", {"texts": ["asked", "twice"]}, meta=meta)
        await client.call_tool("one__log", {"texts": ["below"], "level": "debug"}, meta=meta)
    assert heard == ["asked", "twice"]
