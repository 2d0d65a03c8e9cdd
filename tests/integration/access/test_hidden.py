"""Everything that a user does not see answers as what is not there; what is only seen can't be called."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.access.permissions import read_permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.lookup import ServerCache
from nexus_hub.calls.pipeline import Pipeline
from nexus_hub.catalog import read
from nexus_hub.errors import HubError, NotAllowed, NotFound
from nexus_hub.gateway.entries import Catalog
from nexus_hub.gateway.views import Views
from nexus_hub.jobs import store
from nexus_hub.jobs.again import NoLongerOffered, prepare_again
from nexus_hub.jobs.requests import NO_BOUNDS, JobRequest
from nexus_hub.jobs.submit import Resolver, submit_batch
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.orchestration.health_figures import read_figures
from nexus_hub.servers import registry
from nexus_hub.servers.login_requests import LoginRequests
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest
from tests.fixtures.allowed import add_user, close_hub, grant, store_server
from tests.fixtures.library import Library


async def message_of(asked: Awaitable[object]) -> str:
    """What is said of something that can't be had."""
    with pytest.raises(HubError) as refusal:
        await asked
    return f"{refusal.value.code}: {refusal.value.message}"


class Hub:
    """A closed hub with three servers: one is the user's to call, of one a tool is to be seen, one is hidden."""

    def __init__(self, library: Library) -> None:
        self.library, self.database = library, library.database

    async def fill(self) -> "Hub":
        self.ann = await add_user(self.database, "ann")
        self.refs = {name: await store_server(self.library.servers, name) for name in ("git", "notes", "secret")}
        await close_hub(self.database)
        await grant(self.database, self.ann, "call", server="git")
        await grant(self.database, self.ann, "list", server="notes", tool="add")
        return self

    def alike(self, ask: Callable[[str], Awaitable[object]], hidden: str, absent: str) -> Awaitable[None]:
        """Ask for what is hidden and for what is not there, which must answer alike."""

        async def compare() -> None:
            assert (await message_of(ask(hidden))).replace(hidden, absent) == await message_of(ask(absent))

        return compare()


@pytest.fixture
async def hub(library: Library) -> Hub:
    return await Hub(library).fill()


async def test_lists_have_what_is_seen_and_count_nothing_else(hub: Hub) -> None:
    async def names(kind: read.Kind, **query: Any) -> list[str]:
        page = await read.list_entries(hub.database, hub.ann, kind, **query)
        return [one.name for one in page.items]

    assert await names("tools") == ["git__add", "git__drop", "notes__add"]
    assert await names("prompts") == ["git__ask"]
    assert await names("resources") == ["git://one", "git://{part}/all"]
    assert await names("tools", query="drop secret notes") == ["git__drop", "notes__add"]
    assert await names("tools", server="secret") == await names("tools", server="nobody") == []
    shown = await read.list_entries(hub.database, hub.ann, "tools", query="add", compact=True)
    await hub.library.servers.remove(OPERATOR, hub.refs["secret"])
    assert await read.list_entries(hub.database, hub.ann, "tools", query="add", compact=True) == shown


async def test_servers_are_listed_as_far_as_they_are_seen(hub: Hub) -> None:
    page = await registry.list_servers(hub.database, hub.ann)
    counts = [(one.name, one.tools, one.resources, one.prompts) for one in page.items]
    assert counts == [("git", 2, 2, 1), ("notes", 1, 0, 0)]
    git, notes = page.items
    assert git.server_info == {"name": "git by hand"}
    assert notes.server_info is None
    for way in (str, lambda name: str(hub.refs[name].server_ref_id)):
        await hub.alike(lambda ref: registry.find(hub.database, hub.ann, ref), way("secret"), str(uuid4()))
    everything = await registry.list_servers(hub.database, OPERATOR)
    assert [one.name for one in everything.items] == ["git", "notes", "secret"]


async def test_a_server_that_is_not_well_is_told_of_to_those_who_see_it(hub: Hub) -> None:
    async with hub.database.transaction() as transaction:
        await transaction.connection.execute("UPDATE server_state SET status = 'failing'")
    figures = await read_figures(hub.database, hub.ann)
    assert [one.name for one in figures.unwell] == ["git", "notes"]


async def test_a_login_is_asked_of_those_who_may_call(hub: Hub) -> None:
    async with hub.database.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE system_servers SET login_kind = 'oauth', credentials = 'per-user';"
        )
        for ref in hub.refs.values():
            await transaction.connection.execute(
                "INSERT INTO upstream_logins (server_type, server_ref_id, user_id, kind, sealed, key_id, state)"
                " VALUES ('system', %s, %s, 'oauth', %s, %s, 'needed')",
                [ref.server_ref_id, hub.ann.user_id, bytes(32), "0" * 8],
            )
    assert [one.name for one in (await read_figures(hub.database, hub.ann)).logins] == ["git"]


@pytest.mark.parametrize("kind", ["tool_invoke", "prompt_execute"])
async def test_no_job_can_be_stored_of_what_is_hidden(hub: Hub, kind: Any) -> None:
    name = "drop" if kind == "tool_invoke" else "ask"

    def ask(server: str) -> Awaitable[object]:
        return Resolver(hub.database, hub.ann).resolve(JobRequest(kind, f"{server}__{name}"))

    await hub.alike(ask, "secret", "absent")
    await hub.alike(ask, "notes", "absent")
    assert (await Resolver(hub.database, hub.ann).resolve(JobRequest(kind, f"git__{name}")))[1] == hub.refs["git"]


async def test_no_resource_of_a_hidden_server_can_be_asked_for(hub: Hub) -> None:
    def ask(server: str) -> Awaitable[object]:
        return Resolver(hub.database, hub.ann).resolve(JobRequest("resource_fetch", server, uri="x://1"))

    await hub.alike(ask, "secret", "absent")
    with pytest.raises(NotFound, match="notes"):
        await ask("notes")
    await ask("git")


async def test_what_is_seen_alone_is_refused_by_name_also_in_a_batch(hub: Hub) -> None:
    seen = JobRequest("tool_invoke", "notes__add")
    with pytest.raises(NotAllowed, match="You may see the tool notes__add and not call it"):
        await Resolver(hub.database, hub.ann).resolve(seen)
    with pytest.raises(NotAllowed, match="notes__add"):
        await submit_batch(hub.database, hub.ann, [JobRequest("tool_invoke", "git__add"), seen])
    async with hub.database.transaction() as transaction:
        assert await transaction.only(b"SELECT count(*) FROM job_results", int) == 0


async def test_a_job_can_not_be_run_again_when_its_tool_is_hidden_or_only_seen(hub: Hub) -> None:
    ids = []
    for server in ("git", "notes", "secret"):
        request = JobRequest("tool_invoke", f"{server}__add", {})
        row, _ = await store.add(hub.database, hub.ann, request, hub.refs[server], "add")
        ids.append(row["id"])
    git, notes, secret = ids
    assert (await prepare_again(hub.database, hub.ann, git, NO_BOUNDS))[0].name == "git__add"
    with pytest.raises(NotAllowed):
        await prepare_again(hub.database, hub.ann, notes, NO_BOUNDS)
    with pytest.raises(NoLongerOffered):
        await prepare_again(hub.database, hub.ann, secret, NO_BOUNDS)


@pytest.mark.parametrize(
    "request_",
    [ToolCall("drop", {}, None), PromptGet("ask", {}, None), ResourceRead("secret://one", None)],
    ids=["tool", "prompt", "resource"],
)
async def test_a_job_that_plain_sql_stored_fails_when_it_is_prepared(hub: Hub, request_: UpstreamRequest) -> None:
    execution = hub.library.execution
    servers = ServerCache(hub.database, hub.library.servers)
    pipeline = Pipeline(servers, execution.limiter, execution.connections, execution.permissions, execution.bundles)

    def ask(ref: str) -> Awaitable[object]:
        return pipeline.prepare(ServerRef("system", UUID(ref)), hub.ann.user_id, request_)

    await hub.alike(ask, str(hub.refs["secret"].server_ref_id), str(uuid4()))
    await ask(str(hub.refs["git"].server_ref_id))
    with pytest.raises(NotFound):
        await ask(str(hub.refs["notes"].server_ref_id))
    if isinstance(request_, ToolCall):
        with pytest.raises(NotAllowed):
            await pipeline.prepare(hub.refs["notes"], hub.ann.user_id, replace(request_, name="add"))
    await pipeline.prepare(hub.refs["secret"], None, request_)


async def test_a_no_is_said_only_by_what_holds_now(hub: Hub) -> None:
    execution, servers = hub.library.execution, ServerCache(hub.database, hub.library.servers)
    kept = TtlCache(partial(read_permissions, hub.database), 3600)
    pipeline = Pipeline(servers, execution.limiter, execution.connections, kept, execution.bundles)
    call = ToolCall("drop", {})
    with pytest.raises(NotFound):
        await pipeline.prepare(hub.refs["secret"], hub.ann.user_id, call)
    await grant(hub.database, hub.ann, "call", server="secret")
    await pipeline.prepare(hub.refs["secret"], hub.ann.user_id, call)


async def test_a_stored_job_fails_when_its_grant_is_gone(hub: Hub) -> None:
    row, _ = await store.add(
        hub.database, hub.ann, JobRequest("tool_invoke", "git__add", {}, max_attempts=1), hub.refs["git"], "add"
    )
    async with hub.database.transaction() as transaction:
        await transaction.connection.execute("DELETE FROM access_grants")
    attempt = await hub.library.claimed(row["id"])
    with hub.library.execution.hold(attempt), pytest.raises(NotFound):
        await hub.library.execution.open(attempt)


async def test_the_addresses_of_mcp_have_the_same(hub: Hub) -> None:
    views = Views(Catalog(hub.database), hub.library.execution.permissions, hub.library.execution.bundles)
    view = await views.view(hub.ann)
    assert list(view.entries("tool")) == ["git__add", "git__drop", "notes__add"]
    assert list(view.entries("prompt")) == ["git__ask"]
    assert list(view.entries("resource")) == ["git://one"]
    assert list(view.entries("template")) == ["git://{part}/all"]
    await hub.alike(lambda name: views.view(hub.ann, name), "secret", "absent")


async def test_a_login_at_a_hidden_server_is_one_at_none(hub: Hub) -> None:
    requests = LoginRequests(hub.database, hub.library.servers._vault, hub.library.servers, None)  # type: ignore[arg-type]

    def ask(ref: str) -> Awaitable[object]:
        return requests.open_own(hub.ann, ServerRef("system", UUID(ref)))

    await hub.alike(ask, str(hub.refs["secret"].server_ref_id), str(uuid4()))


async def test_permissions_are_only_told_to_whom_they_are(hub: Hub) -> None:
    bob = Principal(uuid4())
    async with hub.database.transaction(bob) as transaction:
        assert await transaction.all(b"SELECT * FROM nexus_permissions(%(id)s)", id=hub.ann.user_id) == []
    assert (await read_permissions(hub.database, bob.user_id)).servers == {}
