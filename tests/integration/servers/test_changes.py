"""Changes that servers tell of, up to the catalog, and the time to live that they ask for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from nexus_hub.catalog import read
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers.changes import FIRST_PAUSE_SECONDS, GATHER_SECONDS, ChangeRefresher
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.upstreams import Serve, own_server

OFFERED = 6


@pytest_asyncio.fixture
async def changes(library: Library, connections: Connections) -> AsyncIterator[ChangeRefresher]:
    """Reads anew what changes, as a process of the hub does."""
    refresher = ChangeRefresher(library.refresher)
    connections.on_list_changed(refresher.note)
    yield refresher
    await refresher.close()


async def registered(library: Library, config: Any) -> Target:
    server = await library.servers.register("srv", config)
    target, _ = await library.servers.open(ServerRef(server.server_type, server.id))
    return target


async def tools(library: Library) -> list[str]:
    found = await read.list_entries(library.database, OPERATOR, "tools")
    return [tool.tool_name for tool in found.items]  # type: ignore[union-attr]


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await happened():
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("changes")
@pytest.mark.parametrize("kind", ["stdio-modern", "stdio-legacy", "http-modern"])
async def test_a_tool_that_a_server_adds_is_in_the_catalog_without_anybody_refreshing(
    library: Library, connections: Connections, serve: Serve, kind: str
) -> None:
    config = own_server("speaking") if kind.startswith("stdio") else HttpConfig(url=(await serve("speaking")).url)
    target = await registered(library, config)
    if kind.endswith("legacy"):
        target = replace(target, protocol_version="2025-11-25")
    assert len(await tools(library)) == OFFERED
    await connections.request(target, ToolCall("grow"), timeout=30)

    async def is_there() -> bool:
        return "grown-6" in await tools(library)

    await until(is_there)


@pytest.mark.usefixtures("changes")
async def test_a_flood_costs_one_refresh_and_its_own_server_answers_on(
    library: Library, connections: Connections
) -> None:
    target = await registered(library, own_server("speaking"))
    for _ in range(3):
        say = ToolCall("say", {"what": "tools", "times": 200})
        await connections.request(target, say, timeout=30)

    async def has_been_read() -> bool:
        result = await connections.request(target, ToolCall("seen"), timeout=30)
        asked: dict[str, int] = result["structuredContent"]["asked"]
        return asked.get("tools/list", 0) >= 1

    await until(has_been_read)
    result = await connections.request(target, ToolCall("seen"), timeout=30)
    assert result["structuredContent"]["asked"]["tools/list"] <= 2, "one at once, and at most one after the pause"


async def test_a_server_that_speaks_of_changes_whenever_it_is_read_is_read_ever_more_seldom(
    library: Library, connections: Connections
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        if seconds != GATHER_SECONDS:
            pauses.append(seconds)
        if len(pauses) > 5:
            await asyncio.Event().wait()

    refresher = ChangeRefresher(library.refresher, pause=pause)
    target = await registered(library, own_server("speaking", "--restless"))
    connections.on_list_changed(refresher.note)
    await connections.request(target, ToolCall("say", {"what": "tools"}), timeout=30)

    async def is_calm() -> bool:
        return len(pauses) > 5

    await until(is_calm)
    await refresher.close()
    assert pauses == [FIRST_PAUSE_SECONDS * 2**n for n in range(6)]


@pytest.mark.parametrize(
    ("ttl", "lowest", "highest"),
    [("120000", 100, 140), ("5", 50, 70), ("0", 70_000, 100_000), (str(10**12), 70_000, 100_000)],
)
async def test_the_catalog_counts_as_fresh_as_long_as_the_server_says_within_bounds(
    library: Library, database: HubDatabase, ttl: str, lowest: int, highest: int
) -> None:
    await registered(library, own_server("speaking", "--ttl", ttl))
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        statement = """
            SELECT extract(epoch FROM state.next_refresh_at - state.last_refresh_at)::float,
                   extract(epoch FROM max(tool.expires_at) - state.last_refresh_at)::float
            FROM server_state AS state JOIN tool_cache AS tool USING (server_type, server_ref_id)
            GROUP BY state.next_refresh_at, state.last_refresh_at
        """
        row = await (await connection.execute(statement.encode())).fetchone()
    assert row is not None
    assert all(lowest <= seconds <= highest for seconds in row), row
