"""The catalog: what a server offers replaces what was stored of it, whatever its names are."""

import secrets
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from nexus_hub.catalog import read
from nexus_hub.catalog.store import store
from nexus_hub.db.pool import Database
from nexus_hub.errors import Conflict, InvalidConfig, InvalidName, NameTaken, NotAllowed, NotFound
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers import registry
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.snapshot import Snapshot
from nexus_hub.vault.sealing import SealContext
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.upstreams import Serve, own_server

REF = ServerRef("system", UUID(int=1))
EMPTY = Snapshot("2026-07-28", None, None, {})


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}} | more


def offering(*tools: str, **more: Any) -> Snapshot:
    return replace(EMPTY, tools=[tool(name) for name in tools], **more)


async def put(database: Database, seen: Snapshot, ref: ServerRef = REF, owner: UUID | None = None) -> None:
    async with database.transaction() as transaction:
        await store(transaction, ref, "srv", owner, seen)


async def names(database: Database, kind: read.Kind = "tools", principal: Principal = OPERATOR) -> list[str]:
    return [item["name"] for item in asdict(await read.list_entries(database, principal, kind))["items"]]


async def test_what_was_seen_takes_the_place_of_what_was_stored(hub_database: Database) -> None:
    await put(hub_database, offering("a", "b"))
    await put(hub_database, replace(EMPTY, tools=[tool("b", description="new"), tool("c")]))
    items = asdict(await read.list_entries(hub_database, OPERATOR, "tools"))["items"]
    assert [(item["name"], item["description"]) for item in items] == [("srv__b", "new"), ("srv__c", None)]
    await put(hub_database, EMPTY)
    assert await names(hub_database) == []


async def test_a_server_that_names_a_thing_twice_is_stored_with_the_first(hub_database: Database) -> None:
    twice = [{"uri": "x://1", "name": "one"}, {"uri": "x://1", "name": "two"}]
    templates = [{"uriTemplate": "x://1", "name": "three"}, {"uriTemplate": "x://{id}", "name": "four"}]
    prompts = [{"name": "p"}, {"name": "p"}]
    seen = offering("a", "a", resources=twice, resource_templates=templates, prompts=prompts)
    await put(hub_database, seen)
    assert await names(hub_database) == ["srv__a"]
    assert await names(hub_database, "prompts") == ["srv__p"]
    found = asdict(await read.list_entries(hub_database, OPERATOR, "resources"))["items"]
    assert [item["resource_name"] for item in found] == ["one", "four"]


ODD = [
    "NUL \x00",
    "half \ud800",
    "\x1a",
    "\x1a0000",
    "\x1afnan",
    "é",
    "",
    " ",
    "x" * 200,
    "a.b",
    "a/b",
    "a\tb",
    "'\"%s",
]


async def test_odd_names_are_stored_listed_and_found(hub_database: Database) -> None:
    await put(hub_database, offering(*ODD, prompts=[{"name": name} for name in ODD]))
    items = asdict(await read.list_entries(hub_database, OPERATOR, "tools"))["items"]
    assert {item["definition"]["name"] for item in items} == set(ODD)
    for item in items:
        assert (await read.find(hub_database, OPERATOR, "tool", item["name"])).name == item["tool_name"]
        definition = (await read.tool_to_call(hub_database, REF, item["tool_name"])).definition
        assert definition["inputSchema"] == {"type": "object"}


async def test_pages_of_odd_names_go_on_to_the_end(hub_database: Database) -> None:
    uris = sorted(f"x://{name}" for name in ODD)
    await put(hub_database, replace(EMPTY, resources=[{"uri": uri, "name": "r"} for uri in uris]))
    found: list[str] = []
    cursor = None
    for _ in range(len(uris)):
        page = asdict(await read.list_entries(hub_database, OPERATOR, "resources", limit=1, cursor=cursor))
        found += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert sorted(found) == uris


async def test_a_thousand_tools_are_stored_and_listed_in_pages(hub_database: Database) -> None:
    await put(hub_database, offering(*(f"tool-{number:04}" for number in range(1000))))
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = asdict(await read.list_entries(hub_database, OPERATOR, "tools", limit=300, cursor=cursor))
        found += [item["name"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == [f"srv__tool-{number:04}" for number in range(1000)]


async def test_a_very_long_uri_is_left_out_and_the_rest_stored(hub_database: Database) -> None:
    uris = ["x://short", f"x://{secrets.token_hex(20_000)}"]
    await put(hub_database, replace(EMPTY, resources=[{"uri": uri, "name": "r"} for uri in uris]))
    assert await names(hub_database, "resources") == ["x://short"]


async def test_a_users_tools_are_seen_by_that_user_only(hub_database: Database) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    await put(hub_database, offering("mine"), ServerRef("user", uuid4()), ann.user_id)
    assert await names(hub_database, principal=ann) == ["srv__mine"]
    assert await names(hub_database, principal=bob) == []
    with pytest.raises(NotFound):
        await read.find(hub_database, bob, "tool", "srv__mine")


async def test_a_query_is_text_and_not_a_pattern(hub_database: Database) -> None:
    await put(hub_database, offering("Alpha", "be_ta", "be-ta"))
    for query, count in {"ALPHA": 1, "be_": 1, "%": 0, "": 3, "' OR true --": 0, "srv__": 3}.items():
        assert len(asdict(await read.list_entries(hub_database, OPERATOR, "tools", query=query))["items"]) == count, (
            query
        )


async def test_an_entry_that_others_put_in_by_hand_is_not_called(
    hub_database: Database, database: HubDatabase, library: Library
) -> None:
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO tool_cache (server_type, server_ref_id, namespaced_name) VALUES ('system', %s, 'srv__old')",
            [uuid4()],
        )
    with pytest.raises(NotFound):
        await library.submitted(JobRequest("tool_invoke", "srv__old"))
    await read.list_entries(hub_database, OPERATOR, "tools")


@pytest.fixture
def habits() -> StdioConfig:
    return own_server("habits")


async def test_a_server_is_registered_with_what_it_offers_and_removed_with_it(
    library: Library, habits: StdioConfig
) -> None:
    server = await library.servers.register("srv", habits)
    assert (server.status, server.prompts) == ("ready", 1)
    assert server.tools == len(await names(library.database)) > 5
    with pytest.raises(NameTaken):
        await library.servers.register("srv", habits)
    await library.servers.remove(OPERATOR, ServerRef("system", server.id))
    assert await names(library.database) == []
    with pytest.raises(NotFound):
        await registry.find(library.database, OPERATOR, "srv")


@pytest.mark.parametrize("limit", [0, -1, 2**31, 10**30])
async def test_what_can_not_be_registered_is_refused_before_it_is_tried(library: Library, limit: int) -> None:
    nothing = StdioConfig(command="no-such-command")
    with pytest.raises(InvalidConfig):
        await library.servers.register("srv", nothing, limits=Limits(limit))
    with pytest.raises(InvalidConfig):
        await library.servers.register("srv", nothing, limits=Limits(None, limit))
    with pytest.raises(InvalidConfig, match="one user"):
        await library.servers.register("srv", HttpConfig(url="http://a"), owner=uuid4(), limits=Limits(None, 1))
    with pytest.raises(InvalidConfig, match="HTTP"):
        await library.servers.register("srv", nothing, owner=uuid4())
    with pytest.raises(InvalidName):
        await library.servers.register("s__v", nothing)


async def test_a_name_is_not_taken_between_users(library: Library, serve: Serve) -> None:
    http = HttpConfig(url=(await serve("habits")).url)
    ann, bob = uuid4(), uuid4()
    hers = await library.servers.register("srv", http, owner=ann)
    await library.servers.register("srv", http, owner=bob)
    with pytest.raises(Conflict, match="id"):
        await registry.find(library.database, OPERATOR, "srv")
    assert (await registry.find(library.database, Principal(ann), "srv")).id == hers.id
    assert (await registry.find(library.database, OPERATOR, str(hers.id))).id == hers.id
    with pytest.raises(NotFound):
        await library.servers.remove(Principal(bob), ServerRef("user", hers.id))


async def test_a_user_does_not_remove_a_system_server(library: Library, habits: StdioConfig) -> None:
    server = await library.servers.register("srv", habits)
    with pytest.raises(NotAllowed):
        await library.servers.remove(Principal(uuid4()), ServerRef("system", server.id))
    with pytest.raises(NotFound):
        await library.servers.remove(OPERATOR, ServerRef("user", server.id))
    assert await names(library.database)


async def test_a_server_that_was_removed_during_a_refresh_does_not_come_back(
    library: Library, habits: StdioConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await library.servers.register("srv", habits)
    ref = ServerRef("system", server.id)

    async def removed_meanwhile(_target: object, timeout: float) -> Snapshot:
        await library.servers.remove(OPERATOR, ref)
        return offering("ghost")

    monkeypatch.setattr(library.servers, "inspect", removed_meanwhile)
    with pytest.raises(NotFound):
        await library.refresher.refresh(ref)
    assert await names(library.database) == []


async def test_a_users_server_never_runs_a_command_even_if_its_row_says_so(
    library: Library, habits: StdioConfig, database: HubDatabase
) -> None:
    row, ann = uuid4(), uuid4()
    ref = ServerRef("user", row)
    command = {"transport": "stdio", "command": habits.command, "args": list(habits.args), "env": {}}
    sealed = library.servers._vault.seal_config(SealContext.for_server(ref, ann), command)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO user_servers (id, user_id, name, config_encrypted, key_id) VALUES (%s, %s, 'srv', %s, %s)",
            [row, ann, sealed.data, sealed.key_id],
        )
    with pytest.raises(InvalidConfig, match="HTTP"):
        await library.servers.open(ref)
