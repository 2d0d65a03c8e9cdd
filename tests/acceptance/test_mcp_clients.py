"""The client of the SDK at `/mcp` of a whole hub, in both eras, before a server of each; others: `make clients`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import features, python_sdk
from tests.fixtures import run
from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import free_port, own_command, start

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def folder() -> Path:
    """What the server writes into."""
    return run.new_directory("lively")


@pytest.fixture(scope="module", params=[(), ("--legacy",)], ids=["2026-07-28", "2025-11-25"])
def place(hub: Hub, folder: Path, request: pytest.FixtureRequest) -> Iterator[features.Place]:
    """The hub with the server `lively` of an era."""
    port = free_port()
    command = [*own_command("lively", "--folder", str(folder), *request.param), "--port", str(port)]
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(start(*command, port=port))
    try:
        added = hub.run("server", "add", "lively", "--url", server.url)
        assert added.code == 0, added.err
        yield features.Place(f"{hub.url}/mcp", hub.key, folder, f"sdk{len(request.param)}")
        assert hub.run("server", "remove", "lively").code == 0
    finally:
        loop.run_until_complete(server.kill())
        loop.close()


@pytest.mark.parametrize("feature", ["list", "call", "progress", "cancel", "elicitation", "list_changed"])
@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_client_of_the_sdk_finds_what_it_can_do(place: features.Place, mode: str, feature: str) -> None:
    own = features.Place(place.url, place.token, place.folder, f"{place.tag}-{mode}")
    async with python_sdk.Seen(own, mode).open() as seen:
        found = await features.observe({feature: seen.looks()[feature]})
    assert not found[feature].startswith("failed"), found
