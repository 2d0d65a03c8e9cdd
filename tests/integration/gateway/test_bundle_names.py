"""One set of names: what a bundle lists at its address can be called there, is in the API's list, and makes jobs."""

import os
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

from nexus_hub.catalog import bundles
from nexus_hub.catalog.bundles import BundleWords, NewEntry
from nexus_hub.catalog.names import make_namespaced
from nexus_hub.errors import HubError, NotAllowed, NotFound
from nexus_hub.gateway.views import View
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import Resolver
from nexus_hub.models import Principal, ServerRef
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.bundles import add_catalog, put_catalog, tool
from tests.fixtures.served import Served

DRAWS = int(os.environ.get("NEXUS_TEST_BUNDLES", "15"))
SERVERS = ("one", "two", "three")
TOOLS = ("a", "b", "c", "x" * 60, "odd name")
LEVELS = (None, "list", "call")
GRANT = (
    b"INSERT INTO access_grants (group_id, level, bundle_id) SELECT id, %(level)s, %(bundle)s "
    b"FROM user_groups WHERE is_everyone"
)
CLOSE = b"UPDATE system_servers SET access = CASE WHEN name = ANY (%(closed)s) THEN 'closed' ELSE 'open' END"


def draw_entries(chance: random.Random) -> list[NewEntry]:
    """Entries that may be in one bundle together."""
    found: dict[str, NewEntry] = {}
    for _ in range(chance.randint(0, 6)):
        source = chance.choice((*TOOLS, "*", "gone"))
        name = None if source == "*" else chance.choice((None, "first", "second", "y" * 64))
        entry = NewEntry(kind="tool", server=chance.choice(SERVERS), source=source, name=name)
        if source != "*" and chance.random() < 0.3:
            entry = replace(entry, hidden=["p"], fixed={"q": "1"})
        found.setdefault(f"{entry.server} *" if source == "*" else entry.public, entry)
    return list(found.values())


async def outcome_of(work: Any) -> str:
    """How far somebody gets: `hidden`, `seen` alone, or to a `call`, which fails since the server is not there."""
    try:
        await work
    except NotFound:
        return "hidden"
    except NotAllowed:
        return "seen"
    except HubError:
        return "call"
    return "call"


async def prepare(served: Served, ann: Principal, view: View, name: str) -> None:
    entry = view.find("tool", name)
    if entry is None:
        raise NotFound("tool", name)
    view.require("tool", entry, name)
    pipeline = served.runtime.direct._pipeline
    await pipeline.prepare(entry.ref, ann.user_id, ToolCall(entry.name), by_bundle=entry.by_bundle)


async def compare(served: Served, ann: Principal, expected: str) -> None:
    """Hold the ways to one bundle against each other."""
    resolver, gateway = Resolver(served.database, ann), served.app.state.gateway
    try:
        view = await gateway.views.view(ann, "travel")
    except NotFound:
        assert expected == "hidden"
        assert await outcome_of(served.runtime.bundle_finder.find_tools(ann, "travel")) == "hidden"
        assert await outcome_of(resolver.resolve(JobRequest("tool_invoke", "travel__one__a"))) == "hidden"
        return
    names = list(view.entries("tool"))
    page = await served.runtime.bundle_finder.find_tools(ann, "travel", limit=1000)
    assert [one.definition["name"] for one in page.items] == names
    assert [one.name for one in page.items] == [make_namespaced("travel", name) for name in names]
    for name in {*names, "one__a", "first", "two__gone"}:
        reached = "hidden" if name not in names else expected
        called_as = make_namespaced("travel", name)
        assert await outcome_of(prepare(served, ann, view, name)) == reached
        assert await outcome_of(resolver.resolve(JobRequest("tool_invoke", called_as))) == reached


async def test_names_of_bundles_are_the_same_in_every_way(served: Served) -> None:
    chance = random.Random(16)
    refs: dict[str, ServerRef] = {}
    for server in SERVERS:
        refs[server] = await add_catalog(served.database, server, *(tool(name, "p", "q") for name in TOOLS))
    ann, _ = await served.user("ann")
    for _ in range(DRAWS):
        level, access = chance.choice(LEVELS), chance.choice(("open", "closed"))
        server = chance.choice(SERVERS)
        await put_catalog(
            served.database, refs[server], server, *(tool(one, "p", "q") for one in chance.sample(TOOLS, k=3))
        )
        async with served.database.transaction() as transaction:
            words = BundleWords(name="travel", access=access)  # type: ignore[arg-type]
            bundle_id: UUID = await bundles.add_bundle(transaction, words, draw_entries(chance))
            if level is not None:
                await transaction.run(GRANT, level=level, bundle=bundle_id)
            await transaction.run(CLOSE, closed=chance.sample(SERVERS, k=chance.randint(0, 3)))
        served.runtime.notice_permissions()
        served.runtime.notice_catalog(None)
        granted = {"list": "seen", "call": "call", None: "call" if access == "open" else "hidden"}
        await compare(served, ann, granted[level])
        async with served.database.transaction() as transaction:
            await bundles.remove_bundle(transaction, "travel")
