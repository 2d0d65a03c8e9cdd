"""In random worlds all that lists, searches, finds and calls says the same, and so does the database itself."""

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from uuid import UUID

from nexus_hub.access import groups
from nexus_hub.access.permissions import Permission, Permissions, read_permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.pipeline import Pipeline
from nexus_hub.catalog import read
from nexus_hub.catalog.bundles import Bundles, BundleWords, NewEntry, add_bundle, read_bundles
from nexus_hub.catalog.read import ToolFilters
from nexus_hub.errors import HubError
from nexus_hub.gateway.entries import Catalog
from nexus_hub.gateway.views import Views
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import Resolver
from nexus_hub.live.bundle_finder import BundleFinder
from nexus_hub.live.tool_finder import ToolFinder
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers import registry
from nexus_hub.upstream.requests import PromptGet, ToolCall, UpstreamRequest
from tests.fixtures.allowed import add_user, store_server
from tests.fixtures.finding import Finding
from tests.fixtures.library import Library
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.worlds import Given, World

DRAWS = int(os.environ.get("NEXUS_PERMISSION_DRAWS", "60"))
SEED = int(os.environ.get("NEXUS_PERMISSION_SEED", "16"))
TOOLS = ["add", "drop", "read"]
SERVERS = ["git", "notes", "time", "mail"]
BUNDLES = ["desk", "shop"]
ADD_IDENTITY = (
    b"INSERT INTO user_identities (user_id, issuer, subject) VALUES (%(user)s, 'https://idp.example', %(name)s)"
)
OWN_ROWS = b"SELECT server_ref_id, tool_name FROM tool_cache"
OTHER_ROWS = (
    b"SELECT server_ref_id FROM prompt_cache UNION ALL SELECT server_ref_id FROM resource_cache WHERE is_template"
)
STATES = b"SELECT server_ref_id FROM server_state"


@dataclass
class Draws:
    """One catalog in which worlds are drawn, and all the ways to look at it."""

    library: Library
    given: Given
    refs: dict[str, ServerRef]
    own: ServerRef
    permissions: TtlCache[UUID | None, Permissions]
    views: Views
    pipeline: Pipeline
    finder: ToolFinder
    bundles: BundleFinder

    def shown(self, world: World, user: UUID) -> dict[str, tuple[ServerRef, str, Permission | None]]:
        """Reckon all tools by the names that a user would call them by, the own one in the place of the system's."""
        found = {
            f"{name}__{tool}": (ref, tool, world.permission(user, ref.server_ref_id, tool))
            for name, ref in self.refs.items()
            for tool in TOOLS
        }
        own = {f"git__{tool}": (self.own, tool, Permission("call")) for tool in ("add", "mine")}
        return found | own if user == self.given.users[0] else found


@asynccontextmanager
async def drawing(library: Library, url: str) -> AsyncIterator[Draws]:
    """Make the catalog, with an own server of the first user that has the name of one of the system's."""
    database = library.database
    users = [(await add_user(database, name)).user_id for name in ("ann", "bob")]
    assert all(users)
    ids = [one for one in users if one is not None]
    async with database.transaction() as transaction:
        for number, user in enumerate(ids):
            await transaction.run(ADD_IDENTITY, user=user, name=str(number))
    own = await store_server(library.servers, "git", ("add", "mine"), owner=ids[0])
    refs = {name: await store_server(library.servers, name, TOOLS) for name in SERVERS}
    teams = [(await groups.add(database, name)).id for name in ("red", "blue", "green")]
    async with database.transaction() as transaction:
        bundles = [
            await add_bundle(transaction, BundleWords(name=name), [_entry("git", "add"), _entry(server, "*")])
            for name, server in zip(BUNDLES, ("notes", "mail"), strict=True)
        ]
    everyone = (await groups.find(database, "everyone")).id
    given = Given(ids, everyone, teams, [ref.server_ref_id for ref in refs.values()], TOOLS, bundles)
    execution = library.execution
    servers = ServerCache(database, library.servers, seconds=3600)
    permissions = TtlCache(partial(read_permissions, database), 3600)
    bundles_there = await read_bundles(database)
    all_bundles = TtlCache[None, Bundles](partial(_give, bundles_there), 3600)
    pipeline = Pipeline(servers, execution.limiter, execution.connections, permissions, all_bundles)
    views = Views(Catalog(database, seconds=3600), permissions, all_bundles)
    async with Finding(database, url).live() as finding:
        finder = ToolFinder(database, permissions, finding.index, BundleFinder(database))
        yield Draws(library, given, refs, own, permissions, views, pipeline, finder, finder.bundles)


async def _give(bundles: Bundles, _all: None) -> Bundles:
    return bundles


def _entry(server: str, source: str) -> NewEntry:
    return NewEntry(kind="tool", server=server, source=source)


async def outcome_of(asked: Awaitable[object]) -> str | None:
    """The code of what a request was refused with; None if it was not."""
    try:
        await asked
    except HubError as error:
        return error.code
    return None


def expected_of(permission: Permission | None) -> str | None:
    if permission is None:
        return "not-found"
    return None if permission.may_call else "not-allowed"


async def check_permissions(draws: Draws, world: World, user: UUID, found: Permissions) -> None:
    """What the process keeps in memory."""
    for one in draws.given.servers:
        ref = ServerRef("system", one)
        assert found.of_server(ref) == world.permission(user, one)
        for tool in TOOLS:
            assert found.of_tool(ref, tool) == world.permission(user, one, tool)
    for one in draws.given.bundles:
        assert found.of_bundle(one) == world.permission(user, one)


async def check_database(draws: Draws, world: World, user: UUID) -> None:
    """What plain SQL finds for the user."""
    own = draws.own.server_ref_id
    is_owner = user == draws.given.users[0]
    seen = {(one, tool) for one in draws.given.servers for tool in TOOLS if world.permission(user, one, tool)}
    whole = {one for one in draws.given.servers if world.permission(user, one)}
    async with draws.library.database.transaction(Principal(user)) as transaction:
        rows = {(row["server_ref_id"], row["tool_name"]) for row in await transaction.all(OWN_ROWS)}
        others = set(await transaction.all(OTHER_ROWS, UUID))
        states = set(await transaction.all(STATES, UUID))
    assert rows == seen | ({(own, "add"), (own, "mine")} if is_owner else set())
    assert others == whole | ({own} if is_owner else set())
    assert states == whole | {one for one, _ in seen} | ({own} if is_owner else set())


async def check_lists(draws: Draws, world: World, user: UUID) -> None:
    """What is listed and searched, at every address, and counted."""
    database, principal = draws.library.database, Principal(user)
    shown = draws.shown(world, user)
    seen = {name: ref.server_ref_id for name, (ref, _, permission) in shown.items() if permission}
    for query in (None, "frobs"):
        page = await draws.finder.find_tools(principal, ToolFilters(), query=query, limit=1000)
        assert {one.name: one.server_ref_id for one in page.items} == seen
        assert page.next_cursor is None
    by_sql = await read.list_tools(database, principal, ToolFilters(), query="frobs", limit=1000)
    assert {one.name for one in by_sql.items} == set(seen)
    view = await draws.views.view(principal)
    assert {name: entry.ref.server_ref_id for name, entry in view.entries("tool").items()} == seen
    listed = {one.id: one.tools for one in (await registry.list_servers(database, principal)).items}
    own = {draws.own.server_ref_id: 2} if user == draws.given.users[0] else {}
    counts = {one: sum(1 for tool in TOOLS if world.permission(user, one, tool)) for one in draws.given.servers}
    assert listed == own | {one: count for one, count in counts.items() if count or world.permission(user, one)}


async def check_calls(draws: Draws, world: World, user: UUID, random: Random) -> None:
    """What is called: all names at `/mcp`, and one drawn by chance in the other lanes."""
    principal, shown = Principal(user), draws.shown(world, user)
    view = await draws.views.view(principal)
    for name, (_, _, permission) in shown.items():
        entry = view.find("tool", name)
        assert (entry is not None) == (permission is not None)
        if entry is not None and permission is not None:
            assert view.permission("tool", entry) == permission
    name = random.choice(sorted(shown))
    ref, tool, permission = shown[name]
    resolver = Resolver(draws.library.database, principal)
    assert await outcome_of(resolver.resolve(JobRequest("tool_invoke", name))) == expected_of(permission)
    request: UpstreamRequest = ToolCall(tool, {})
    prepared = draws.pipeline.prepare(ref, user, request)
    assert await outcome_of(prepared) == expected_of(permission)
    server = random.choice(sorted(draws.refs))
    of_server = world.permission(user, draws.refs[server].server_ref_id)
    prompt = draws.pipeline.prepare(draws.refs[server], user, PromptGet("ask", {}))
    assert await outcome_of(prompt) == expected_of(of_server)


async def check_addresses(draws: Draws, world: World, user: UUID) -> None:
    """What is at the addresses of servers and of bundles."""
    principal = Principal(user)
    for name, ref in draws.refs.items():
        if name == "git" and user == draws.given.users[0]:
            continue  # the address is that of the user's own server
        tools = [tool for tool in TOOLS if world.permission(user, ref.server_ref_id, tool)]
        whole = world.permission(user, ref.server_ref_id)
        found = await outcome_of(draws.views.view(principal, name))
        assert found == (None if whole or tools else "not-found")
        if found is None:
            view = await draws.views.view(principal, name)
            assert list(view.entries("tool")) == tools
            assert list(view.entries("prompt")) == (["ask"] if whole else [])
    for name, bundle in zip(BUNDLES, draws.given.bundles, strict=True):
        permission = world.permission(user, bundle)
        asked = draws.bundles.find_tools(principal, name)
        assert await outcome_of(asked) == await outcome_of(draws.views.view(principal, name))
        assert (await outcome_of(draws.views.view(principal, name)) is None) == (permission is not None)
        if permission is not None:
            view = await draws.views.view(principal, name)
            page = await draws.bundles.find_tools(principal, name)
            assert len(view.entries("tool")) == len(page.items) == 1 + len(TOOLS)
            called = JobRequest("tool_invoke", f"{name}__git__add")
            resolved = Resolver(draws.library.database, principal).resolve(called)
            assert await outcome_of(resolved) == expected_of(permission)


async def test_all_ways_to_look_and_to_call_agree(library: Library, database: HubDatabase) -> None:
    random = Random(SEED)
    async with drawing(library, database.app_url) as draws:
        for number in range(DRAWS):
            world = World.draw(draws.given, random)
            await world.store(library.database)
            draws.permissions.forget_all()
            user = random.choice(draws.given.users)
            try:
                await check_permissions(draws, world, user, await draws.permissions(user))
                await check_database(draws, world, user)
                await check_lists(draws, world, user)
                await check_calls(draws, world, user, random)
                await check_addresses(draws, world, user)
            except AssertionError as error:
                error.add_note(f"draw {number} of seed {SEED}, user {draws.given.users.index(user)}: {world}")
                raise
