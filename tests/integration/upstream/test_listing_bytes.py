"""What a server says of itself over HTTP is read up to its bound, in JSON and in events, and no further."""

import pytest

from nexus_hub.errors import TooLarge
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from nexus_hub.upstream.snapshot import ReadLimits
from tests.fixtures.upstreams import Serve, target

LIMIT = 10_000


async def padded(serve: Serve, kind: str, padding: str) -> Target:
    return target(HttpConfig(url=(await serve("literal")).url.replace("mcp", f"{kind}?{padding}")))


def bounded() -> Connections:
    return Connections(log_dir=None, read_limits=ReadLimits(listing_bytes=LIMIT))


@pytest.mark.parametrize("kind", ["mcp", "events"])
@pytest.mark.parametrize(
    "padding", ["tools/list=50000", "initialize=50000", "tools/list=endless", "initialize=endless"]
)
async def test_a_listing_is_read_no_further_than_its_bound(serve: Serve, kind: str, padding: str) -> None:
    upstream = await padded(serve, kind, padding)
    async with bounded() as connections:
        with pytest.raises(TooLarge, match=f"over the limit of {LIMIT} bytes"):
            await connections.inspect(upstream, timeout=60)


@pytest.mark.parametrize("kind", ["mcp", "events"])
async def test_what_is_within_the_bound_is_read_and_results_have_one_of_their_own(serve: Serve, kind: str) -> None:
    upstream = await padded(serve, kind, "tools/list=5000")
    async with bounded() as connections:
        assert [tool["name"] for tool in (await connections.inspect(upstream)).tools] == ["say"]
        text = '{"content":[{"type":"text","text":"' + "x" * 50_000 + '"}]}'
        result = await connections.request(upstream, ToolCall("say", {"text": text}), timeout=60)
        assert len(result["content"][0]["text"]) == 50_000


@pytest.mark.parametrize("kind", ["mcp", "events"])
async def test_after_a_listing_that_is_too_long_the_server_can_still_be_called(serve: Serve, kind: str) -> None:
    upstream = await padded(serve, kind, "tools/list=50000")
    async with bounded() as connections:
        with pytest.raises(TooLarge):
            await connections.inspect(upstream)
        result = await connections.request(upstream, ToolCall("say", {"text": '{"content":[]}'}), timeout=60)
        assert result == {"content": []}
