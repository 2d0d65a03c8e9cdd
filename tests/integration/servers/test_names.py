"""Names of servers: an operator takes the one it wants, and what users call stays what it was."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.catalog import read
from nexus_hub.errors import NameTaken, NotFound
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import Resolver
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.servers import registry
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.allowed import add_user, close_hub, grant
from tests.fixtures.library import Library
from tests.fixtures.upstreams import own_server

ANN, BOB = Principal(uuid4()), Principal(uuid4())


async def store(library: Library, name: str, owner: Principal, *tools: str) -> ServerRef:
    """A server with these tools and prompts, stored as if it had been tried."""
    ref = ServerRef("system" if owner.is_operator else "user", uuid4())
    target = Target(ref, name, HttpConfig(url="http://127.0.0.1:1/mcp"), 1, guarded=False)
    offered: list[dict[str, Any]] = [{"name": tool, "inputSchema": {"type": "object"}} for tool in tools]
    seen = Snapshot("2026-07-28", None, None, {}, tools=offered, prompts=[{"name": tool} for tool in tools])
    await library.servers._store(target, owner.user_id, registry.NO_LIMITS, seen)
    return ref


async def names(library: Library, principal: Principal, kind: read.Kind, **query: Any) -> list[tuple[str, UUID]]:
    page = await read.list_entries(library.database, principal, kind, **query)
    return [(item.name, item.server_ref_id) for item in page.items]  # type: ignore[union-attr]


async def called(library: Library, principal: Principal, request: JobRequest) -> ServerRef:
    return (await Resolver(library.database, principal).resolve(request))[1]


async def test_an_operator_takes_a_name_that_users_have(library: Library) -> None:
    hers = await store(library, "habits", ANN, "echo")
    registered = await library.servers.register("habits", own_server("habits"))
    assert registered.server_type == "system"
    assert (await registry.find(library.database, OPERATOR, "habits")).id == registered.id
    assert (await registry.find(library.database, BOB, "habits")).id == registered.id
    assert (await registry.find(library.database, ANN, "habits")).id == hers.server_ref_id
    with pytest.raises(NameTaken):
        await library.servers.register("habits", own_server("habits"))


async def test_a_user_takes_no_name_that_an_operator_has_and_may_share_one_with_users(library: Library) -> None:
    await store(library, "git", OPERATOR, "log")
    with pytest.raises(NameTaken):
        await store(library, "git", ANN, "log")
    await store(library, "hg", ANN, "log")
    await store(library, "hg", BOB, "log")
    with pytest.raises(NameTaken):
        await store(library, "hg", BOB, "log")


async def test_everybody_calls_what_they_called_before_and_sees_each_name_once(library: Library) -> None:
    hers = await store(library, "git", ANN, "log", "mine")
    system = await store(library, "git", OPERATOR, "log", "push")
    expected = {
        ANN: [("git__log", hers), ("git__mine", hers), ("git__push", system)],
        BOB: [("git__log", system), ("git__push", system)],
    }
    for principal, entries in expected.items():
        wanted = [(name, ref.server_ref_id) for name, ref in entries]
        assert await names(library, principal, "tools") == wanted
        assert await names(library, principal, "prompts") == wanted
        assert sorted(await names(library, principal, "tools", query="git")) == wanted
        assert sorted(await names(library, principal, "tools", query="log of git")) == sorted(wanted)
        for name, ref in entries:
            assert await called(library, principal, JobRequest("tool_invoke", name)) == ref
            assert await called(library, principal, JobRequest("prompt_execute", name)) == ref
            shown = await read.show(library.database, principal, name)
            assert shown.server_ref_id == ref.server_ref_id
    resource = JobRequest("resource_fetch", "git", uri="x://y")
    assert [await called(library, one, resource) for one in (ANN, BOB, OPERATOR)] == [hers, system, system]
    with pytest.raises(NotFound):
        await called(library, BOB, JobRequest("tool_invoke", "git__mine"))
    assert len(await names(library, OPERATOR, "tools")) == 4


async def test_once_the_users_is_removed_the_name_is_the_systems(library: Library) -> None:
    hers = await store(library, "git", ANN, "log")
    system = await store(library, "git", OPERATOR, "log")
    await library.servers.remove(ANN, hers)
    assert await called(library, ANN, JobRequest("tool_invoke", "git__log")) == system
    assert await names(library, ANN, "tools") == [("git__log", system.server_ref_id)]


async def test_an_operator_who_names_an_owner_is_held_to_what_that_one_sees(library: Library) -> None:
    await store(library, "habits", BOB, "echo")
    anywhere = HttpConfig(url="http://127.0.0.1:1/mcp")
    with pytest.raises(NameTaken):
        await library.servers.check("habits", anywhere, owner=BOB.user_id)
    await library.servers.check("habits", anywhere, owner=ANN.user_id)
    await library.servers.check("habits", anywhere)


async def test_a_user_is_not_told_by_a_name_that_a_hidden_server_has_it(library: Library) -> None:
    ann, bob = await add_user(library.database, "ann"), await add_user(library.database, "bob")
    secret = await store(library, "secret", OPERATOR, "log")
    await close_hub(library.database)
    await grant(library.database, bob, "list", server="secret", tool="log")
    with pytest.raises(NameTaken):
        await library.servers.check("secret", HttpConfig(url="http://127.0.0.1:9/mcp"), owner=bob.user_id)
    with pytest.raises(NameTaken):
        await store(library, "secret", bob, "log")
    await library.servers.check("secret", HttpConfig(url="http://127.0.0.1:9/mcp"), owner=ann.user_id)
    hers = await store(library, "secret", ann, "log")
    await grant(library.database, ann, "call", server="secret")
    assert await called(library, ann, JobRequest("tool_invoke", "secret__log")) == hers
    assert await names(library, OPERATOR, "tools", server=str(secret.server_ref_id)) == [
        ("secret__log", secret.server_ref_id)
    ]
