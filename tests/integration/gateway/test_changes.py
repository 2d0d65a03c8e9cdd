"""Changes of the catalog reach clients of both eras, whichever process they are connected to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import PromptsListChanged, Subscription, ToolsListChanged

from nexus_hub.catalog.store import store
from nexus_hub.models import ServerRef
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

OVER = 30
EMPTY = Snapshot("2026-07-28", None, None, {})
REF = ServerRef("system", UUID(int=1))
TOOLS_CHANGED = "notifications/tools/list_changed"
VERSION = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
CAPABILITIES, TASKS = "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/tasks"


def offering(*tools: str, **more: Any) -> Snapshot:
    return replace(EMPTY, tools=[{"name": name, "inputSchema": {"type": "object"}} for name in tools], **more)


async def put(
    served: Served, seen: Snapshot, ref: ServerRef = REF, name: str = "srv", owner: UUID | None = None
) -> None:
    """Change what a server offers, as a refresh of any process does."""
    async with served.database.transaction() as transaction:
        await transaction.run(
            b"INSERT INTO server_state (server_type, server_ref_id, user_id, name) VALUES (%(type)s, %(id)s, %(owner)s,"
            b" %(name)s) ON CONFLICT DO NOTHING",
            type=ref.server_type,
            id=ref.server_ref_id,
            owner=owner,
            name=name,
        )
        await store(transaction, ref, name, owner, seen)


@dataclass
class Ears:
    """What a client of the older era is told unasked."""

    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def __call__(self, message: Any) -> None:
        root = getattr(message, "root", message)
        self.heard.put_nowait(root.method)

    async def next(self) -> str:
        async with asyncio.timeout(OVER):
            return await self.heard.get()


@asynccontextmanager
async def connected(
    served: Served, path: str = "/mcp", *, mode: str = "auto", token: str = SERVICE_KEY, **options: Any
) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(served.url + path, http_client=http), mode=mode, cache=None, **options) as client,
    ):
        yield client


@asynccontextmanager
async def legacy(served: Served, path: str = "/mcp", token: str = SERVICE_KEY) -> AsyncIterator[tuple[Client, Ears]]:
    """A client of the older era whose own stream is open."""
    ears, before = Ears(), len(served.app.state.gateway.subscriptions.followers)
    async with connected(served, path, mode="legacy", token=token, message_handler=ears) as client:
        await until_followed(served, before + 1)
        yield client, ears


async def until_followed(served: Served, count: int) -> None:
    async with asyncio.timeout(OVER):
        while len(served.app.state.gateway.subscriptions.followers) != count:
            await asyncio.sleep(0.01)


async def next_of(stream: Subscription) -> Any:
    async with asyncio.timeout(OVER):
        return await anext(stream)


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools if not tool.name.startswith("hub__")]


@pytest.fixture
async def second(served: Served, database: HubDatabase, tmp_path: Path) -> AsyncIterator[Served]:
    """Another process's API on the same database."""
    async with serving(database, tmp_path / "second", free_port()) as api:
        yield api


async def test_a_client_of_the_newer_era_is_told_and_reads_what_is_new(served: Served) -> None:
    async with connected(served) as client, client.listen(tools_list_changed=True) as stream:
        await put(served, offering("a"))
        assert await next_of(stream) == ToolsListChanged()
        assert await names(client) == ["srv__a"]
        await put(served, offering("a", "b"))
        assert await next_of(stream) == ToolsListChanged()
        assert await names(client) == ["srv__a", "srv__b"]


async def test_a_client_of_the_older_era_is_told_and_reads_what_is_new(served: Served) -> None:
    async with legacy(served) as (client, ears):
        await put(served, offering("a"))
        assert await ears.next() == TOOLS_CHANGED
        assert await names(client) == ["srv__a"]


async def test_a_client_is_told_of_what_another_process_changed(served: Served, second: Served) -> None:
    async with (
        connected(second) as client,
        client.listen(tools_list_changed=True) as stream,
        legacy(second) as (_, ears),
    ):
        await put(served, offering("a"))
        assert await next_of(stream) == ToolsListChanged()
        assert await ears.next() == TOOLS_CHANGED
        assert await names(client) == ["srv__a"]


async def test_a_refresh_that_finds_nothing_new_is_told_to_nobody(served: Served) -> None:
    await put(served, offering("a"))
    async with legacy(served) as (_, ears):
        await put(served, offering("a"))
        await put(served, offering("a", prompts=[{"name": "p"}]))
        assert await ears.next() == "notifications/prompts/list_changed"
        assert ears.heard.empty()


async def test_a_client_is_told_of_the_kinds_that_it_asked_for(served: Served) -> None:
    async with connected(served) as client, client.listen(prompts_list_changed=True) as stream:
        assert stream.honored.prompts_list_changed
        assert not stream.honored.tools_list_changed
        await put(served, offering("a", prompts=[{"name": "p"}]))
        assert await next_of(stream) == PromptsListChanged()


async def test_another_users_changes_are_told_to_nobody_else(served: Served) -> None:
    (ann, ann_token), (_, bob_token) = await served.user("ann"), await served.user("bob")
    own = ServerRef("user", uuid4())
    await put(served, offering("a"))
    async with (
        legacy(served, token=ann_token) as (_, ann_hears),
        legacy(served, token=bob_token) as (_, bob_hears),
        legacy(served) as (_, operator_hears),
    ):
        await put(served, offering("secret"), own, "mine", ann.user_id)
        assert await ann_hears.next() == TOOLS_CHANGED
        await put(served, offering("a", prompts=[{"name": "p"}]))
        for others in (bob_hears, operator_hears):
            assert await others.next() == "notifications/prompts/list_changed"
            assert others.heard.empty()


async def test_the_address_of_one_server_tells_of_that_server(served: Served) -> None:
    other = ServerRef("system", UUID(int=2))
    await put(served, offering("a"))
    await put(served, offering("a"), other, "other")
    async with legacy(served, "/mcp/srv") as (_, ears):
        await put(served, offering("a", "b"), other, "other")
        await put(served, offering("a", prompts=[{"name": "p"}]))
        assert await ears.next() == "notifications/prompts/list_changed"
        assert ears.heard.empty()


async def test_both_eras_are_told_what_the_hub_can_tell(served: Served) -> None:
    for mode in ("auto", "legacy"):
        async with connected(served, mode=mode) as client:
            able = client.server_capabilities
            assert able.tools
            assert able.tools.list_changed
            assert able.prompts
            assert able.prompts.list_changed
            assert able.resources
            assert able.resources.list_changed


async def test_streams_count_as_event_streams_of_their_user(database: HubDatabase, tmp_path: Path) -> None:
    async with serving(database, tmp_path, free_port(), user_streams=2) as served:
        _, token = await served.user("ann")
        async with connected(served, token=token) as client, AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(client.listen(tools_list_changed=True))
            with pytest.raises(MCPError, match="NEXUS_USER_STREAMS"):
                await stack.enter_async_context(client.listen(tools_list_changed=True))
        await until_followed(served, 0)


async def test_nothing_is_left_of_clients_that_have_gone(served: Served) -> None:
    async with legacy(served), connected(served) as client, client.listen(tools_list_changed=True):
        assert len(served.app.state.gateway.subscriptions.followers) == 2
    await until_followed(served, 0)


async def test_a_stream_ends_with_both_forms_of_saying_so_when_the_hub_stops(
    database: HubDatabase, tmp_path: Path
) -> None:
    wanted = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["x://nobody's"]}
    async with AsyncExitStack() as hub:
        served = await hub.enter_async_context(serving(database, tmp_path, free_port()))
        async with listening(served, wanted) as messages:
            acknowledged = await anext(messages)
            stopping = asyncio.create_task(hub.aclose())
            cancelled, result = [message async for message in messages]
            await stopping
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}
    assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", "mine")
    assert (result["id"], result["result"]["resultType"]) == ("mine", "complete")
    for meta in (acknowledged["params"]["_meta"], result["result"]["_meta"]):
        assert meta["io.modelcontextprotocol/subscriptionId"] == "mine"


@asynccontextmanager
async def listening(
    served: Served, wanted: dict[str, Any], *, token: str = SERVICE_KEY, extensions: dict[str, Any] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The messages of a stream of the newer era."""
    declared = {CAPABILITIES: {} if extensions is None else {"extensions": extensions}}
    body = {
        "jsonrpc": "2.0",
        "id": "mine",
        "method": "subscriptions/listen",
        "params": {"notifications": wanted, "_meta": {**VERSION, **declared}},
    }
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    async with (
        httpx2.AsyncClient(headers=headers, timeout=OVER) as http,
        http.stream("POST", f"{served.url}/mcp", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        if answer.status_code == 200:
            yield (json.loads(line[5:]) async for line in lines if line.startswith("data:"))
        else:
            yield (json.loads(line) async for line in lines)


async def test_a_callers_own_tasks_are_told_of_whole(served: Served) -> None:
    (ann, token), (bob, _) = await served.user("ann"), await served.user("bob")
    mine, other = await served.stored(ann), await served.stored(bob)
    wanted = {"taskIds": [str(mine), str(other), str(UUID(int=5)), "no id"]}
    async with listening(served, wanted, token=token, extensions={TASKS: {}}) as messages:
        assert (await anext(messages))["params"]["notifications"] == {"taskIds": [str(mine)]}
        attempt = await served.claimed(mine)
        told = await anext(messages)
        assert (told["method"], told["params"]["taskId"]) == ("notifications/tasks", str(mine))
        assert told["params"]["status"] == "working"
        await served.completed(attempt)
        while (told := await anext(messages))["params"]["status"] == "working":
            pass
        assert told["params"]["status"] == "completed"
        assert told["params"]["result"]["content"] == [{"type": "text", "text": "done"}]
        assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "mine"


async def test_tasks_are_told_of_to_clients_that_declare_them(served: Served) -> None:
    async with listening(served, {"taskIds": [str(UUID(int=5))]}) as messages:
        assert (await anext(messages))["error"]["code"] == -32021


async def test_a_stream_of_the_older_era_holds_no_hub_back_that_stops(database: HubDatabase, tmp_path: Path) -> None:
    async with AsyncExitStack() as hub:
        served = await hub.enter_async_context(serving(database, tmp_path, free_port()))
        async with legacy(served):
            await asyncio.create_task(hub.aclose())
    assert not served.app.state.gateway.subscriptions._open


@pytest.mark.parametrize("busy", [False, True])
async def test_a_stream_ends_with_the_token_that_opened_it(
    served: Served, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr("nexus_hub.gateway.followers.IDLE_SECONDS", 0.1)
    monkeypatch.setattr("nexus_hub.gateway.followers.PAUSE_SECONDS", 0.05)
    _, token = await served.user("ann")
    subscriptions = served.app.state.gateway.subscriptions
    async with legacy(served, token=token):
        async with served.client() as api:
            await api.request("DELETE", "/v1/users/ann/tokens")
        async with asyncio.timeout(OVER):
            while subscriptions._open:
                if busy:
                    subscriptions.followers.notice(None)
                await asyncio.sleep(0.01)


class Alternating(httpx2.AsyncHTTPTransport):
    """A proxy without stickiness: each request goes to the next process."""

    def __init__(self, *served: Served) -> None:
        super().__init__()
        self._turns = cycle(httpx2.URL(one.url) for one in served)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        place = next(self._turns)
        request.url = request.url.copy_with(host=place.host, port=place.port)
        return await super().handle_async_request(request)


@asynccontextmanager
async def alternating(*served: Served, mode: str, **options: Any) -> AsyncIterator[Client]:
    """A client behind such a proxy."""
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with (
        httpx2.AsyncClient(transport=Alternating(*served), headers=headers, timeout=60) as http,
        Client(
            streamable_http_client(f"{served[0].url}/mcp", http_client=http), mode=mode, cache=None, **options
        ) as client,
    ):
        yield client


async def test_the_newer_era_needs_no_stickiness(served: Served, second: Served) -> None:
    await put(served, offering("a"))
    async with alternating(served, second, mode="auto") as client:
        for _ in range(4):
            assert await names(client) == ["srv__a"]
        async with client.listen(tools_list_changed=True) as stream:
            await put(second, offering("b"))
            assert await next_of(stream) == ToolsListChanged()
            for _ in range(2):
                assert await names(client) == ["srv__b"], "whichever process is asked"


async def test_the_older_era_lists_and_hears_of_changes_without_stickiness(served: Served, second: Served) -> None:
    await put(served, offering("a"))
    ears = Ears()
    async with alternating(served, second, mode="legacy", message_handler=ears) as client:
        async with asyncio.timeout(OVER):
            while not sum(len(one.app.state.gateway.subscriptions.followers) for one in (served, second)):
                await asyncio.sleep(0.01)
        for _ in range(4):
            assert await names(client) == ["srv__a"]
        await put(second, offering("b"))
        assert await ears.next() == TOOLS_CHANGED
        for _ in range(2):
            assert await names(client) == ["srv__b"], "whichever process is asked"


async def post(served: Served, method: str, session: str | None, **params: Any) -> httpx2.Response:
    """Send a request of the older era."""
    headers = {
        "Authorization": f"Bearer {SERVICE_KEY}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    } | ({"Mcp-Session-Id": session} if session else {})
    async with httpx2.AsyncClient(headers=headers, timeout=OVER) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return await http.post(f"{served.url}/mcp", json=body)


async def opened(served: Served) -> str:
    """Open a session of the older era."""
    answer = await post(
        served,
        "initialize",
        None,
        protocolVersion="2025-11-25",
        capabilities={},
        clientInfo={"name": "test", "version": "1"},
    )
    return str(answer.headers["mcp-session-id"])


async def test_a_session_goes_on_after_its_process_was_replaced(database: HubDatabase, tmp_path: Path) -> None:
    port = free_port()
    async with serving(database, tmp_path, port) as served:
        session = await opened(served)
        assert (await post(served, "tools/list", session)).status_code == 200
    async with serving(database, tmp_path, port) as served:
        again = await post(served, "tools/list", session)
    assert again.status_code == 200
    assert '"tools":' in again.text


async def test_a_session_that_has_ended_is_not_found_any_more(served: Served) -> None:
    session = await opened(served)
    headers = {"Authorization": f"Bearer {SERVICE_KEY}", "Mcp-Session-Id": session}
    async with httpx2.AsyncClient(headers=headers, timeout=OVER) as http:
        assert (await http.delete(f"{served.url}/mcp")).status_code == 200
    assert (await post(served, "tools/list", session)).status_code == 404


async def test_a_session_belongs_to_the_caller_that_opened_it(served: Served) -> None:
    session = await opened(served)
    _, token = await served.user("ann")
    headers = {"Authorization": f"Bearer {token}", "Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with httpx2.AsyncClient(headers=headers, timeout=OVER) as http:
        assert (await http.get(f"{served.url}/mcp")).status_code == 404
        assert (await http.delete(f"{served.url}/mcp")).status_code == 404
    assert (await post(served, "tools/list", session)).status_code == 200


@pytest.mark.parametrize("session", ["x", "0" * 32, "0" * 16 + "-" + "0" * 31, "Z" * 16 + "-" + "0" * 32])
async def test_an_id_that_no_process_gave_is_not_found(served: Served, session: str) -> None:
    assert (await post(served, "tools/list", session)).status_code == 404
