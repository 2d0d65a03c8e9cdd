"""Lists and their pages, and the names that are in them."""

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from nexus_hub.errors import InvalidName
from tests.fixtures.mcp_place import RawHub
from tests.fixtures.mcp_wire import ERAS, META, Wire, assert_refused
from tests.fixtures.upstreams import own_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("era", ERAS)

INVALID_PARAMS = -32602
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


@BOTH
async def test_a_cursor_of_another_list_or_of_nobody_is_refused(caller: Wire, era: str) -> None:
    made = [b"null", b"5", b"[]", b'["tool/"]', b'["tool/",5]', b'["tool/",null]', b'[["tool/"],"a"]', b"{}", b"\xff"]
    wrong = ["", "!", "a", "%00", "\u00e9", "x" * 5000, *(urlsafe_b64encode(one).decode().rstrip("=") for one in made)]
    for method in LISTS:
        for cursor in wrong:
            assert_refused(await caller.ask(era, method, {"cursor": cursor}), INVALID_PARAMS, "cursor")
        odd: tuple[Any, ...] = (5, [], {})
        for value in odd:
            assert_refused(await caller.ask(era, method, {"cursor": value}), INVALID_PARAMS)


@pytest_asyncio.fixture(loop_scope="module")
async def many(raw: RawHub, tmp_path: Path) -> AsyncIterator[RawHub]:
    """2,500 tools more, and as many prompts, of one server."""
    script = tmp_path / "many.json"
    tools = [{"name": f"t{number}", "inputSchema": {"type": "object"}} for number in range(2500)]
    prompts = [{"name": f"p{number}"} for number in range(1500)]
    script.write_text(json.dumps({"tools/list": [{"tools": tools}], "prompts/list": [{"prompts": prompts}]}))
    async with raw.server("many", own_server("clumsy", "none", str(script))):
        yield raw


@BOTH
async def test_pages_hold_each_entry_once_in_the_same_order_every_time(many: RawHub, era: str) -> None:
    async with many.wire() as caller:
        pages = await caller.every(era, "tools/list", "tools")
        names = [tool["name"] for page in pages for tool in page]
        assert len(pages) > 1
        assert len(set(names)) == len(names)
        assert {f"many__t{number}" for number in range(2500)} | {"lit__say", "offers__echo"} <= set(names)
        assert await caller.every(era, "tools/list", "tools") == pages
        first = (await caller.ask(era, "tools/list")).result["nextCursor"]
        for method in set(LISTS) - {"tools/list"}:
            assert_refused(await caller.ask(era, method, {"cursor": first}), INVALID_PARAMS, "cursor")
        elsewhere = Wire(caller.http, "/mcp/many")
        assert_refused(await elsewhere.ask(era, "tools/list", {"cursor": first}), INVALID_PARAMS, "cursor")
        own = await elsewhere.every(era, "prompts/list", "prompts")
        assert sorted(prompt["name"] for page in own for prompt in page) == sorted(f"p{n}" for n in range(1500))


async def test_what_may_be_cached_says_how_long_and_for_whom(many: RawHub) -> None:
    async with many.wire() as caller:
        reads: dict[str, dict[str, str]] = {"server/discover": {}, "resources/read": {"uri": "offers://greeting"}}
        lists: dict[str, dict[str, str]] = {method: {} for method in LISTS}
        for method, params in (lists | reads).items():
            result = (await caller.modern(method, params)).result
            assert isinstance(result["ttlMs"], int)
            assert result["ttlMs"] >= 0
            assert result["cacheScope"] == "private"
            assert result["resultType"] == "complete"
            assert result["_meta"][f"{META}serverInfo"]["name"] == "nexus-hub"
        cursor = (await caller.modern("tools/list")).result["nextCursor"]
        assert (await caller.modern("tools/list", {"cursor": cursor})).result["cacheScope"] == "private"


@BOTH
async def test_the_hubs_own_tools_are_listed_and_nothing_shadows_them(raw: RawHub, era: str) -> None:
    async with raw.wire() as caller, raw.wire("/mcp/lit") as alone:
        for one in (caller, alone):
            names = [tool["name"] for page in await one.every(era, "tools/list", "tools") for tool in page]
            own = [name for name in names if name.startswith("hub__")]
            assert sorted(own) == ["hub__job_cancel", "hub__job_result", "hub__job_wait", "hub__jobs"]


@BOTH
async def test_no_server_can_offer_a_tool_of_the_hubs_prefix(raw: RawHub, era: str, tmp_path: Path) -> None:
    script = tmp_path / "sly.json"
    tools = [
        {"name": name, "description": "sly", "inputSchema": {"type": "object"}}
        for name in ("hub__jobs", "hub__sly", "jobs", "job_wait")
    ]
    script.write_text(json.dumps({"tools/list": [{"tools": tools}]}))
    sly = own_server("clumsy", "none", str(script))
    with pytest.raises(InvalidName):
        await raw.served.runtime.servers.register("hub", sly)
    async with raw.server("sly", sly):
        for path in ("/mcp", "/mcp/sly"):
            async with raw.wire(path) as caller:
                pages = await caller.every(era, "tools/list", "tools")
                found = [one for page in pages for one in page if one["name"].startswith("hub__")]
                assert not [one for one in found if one["description"] == "sly"]
                assert_refused(await caller.ask(era, "tools/call", {"name": "hub__sly"}), INVALID_PARAMS)
