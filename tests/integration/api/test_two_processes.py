"""Two API processes on one database: what either knows of what the other does, and which bounds add up.

Both live in the process of the tests; for processes of their own see `tests/integration/gateway/test_round_robin.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from nexus_hub.authorization import clients
from nexus_hub.authorization.clients import OAuthClient
from nexus_hub.errors import ApiProblem, NotOffered, TooMany
from nexus_hub.execution.flight import DirectCall
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers.login_rows import HeaderCredential, LoginKey
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures import run
from tests.fixtures.allowed import store_server
from tests.fixtures.postgres import MakeDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving_with, settings_of
from tests.fixtures.upstreams import free_port, own_server

OVER = 50
pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Pair:
    """Two processes with the same settings, but for their ports and homes."""

    one: Served
    other: Served

    @asynccontextmanager
    async def hears(self, listeners: str, is_meant: Callable[[Any], object] = bool) -> AsyncIterator[None]:
        """Wait at the end of the block until the other one has heard what is meant."""
        heard, to = asyncio.Event(), getattr(self.other.runtime, listeners)

        def hear(said: Any) -> None:
            if is_meant(said):
                heard.set()

        to.append(hear)
        yield
        await asyncio.wait_for(heard.wait(), OVER)
        to.remove(hear)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(make_database: MakeDatabase) -> AsyncIterator[Pair]:
    database, home = make_database(), run.new_directory("pair")
    settings = settings_of(database, home / "one", free_port(), user_streams=2, user_open_jobs=3)
    others = settings.model_copy(update={"port": free_port(), "home": home / "other"})
    async with serving_with(settings, database.admin_url) as one, serving_with(others, database.admin_url) as other:
        yield Pair(one, other)


def new_name() -> str:
    """A name of a user or a server that no other test has."""
    return f"n{uuid4().hex[:12]}"


async def register(pair: Pair, name: str | None = None) -> ServerRef:
    """A system server, registered at one process."""
    config = own_server("stubborn", "--gentle")
    return ServerRef("system", (await pair.one.runtime.servers.register(name or new_name(), config)).id)


async def refusal(served: Served, token: str, path: str = "/v1/jobs") -> tuple[int, str] | None:
    async with served.client(token) as api:
        try:
            await api.request("GET", path)
        except ApiProblem as problem:
            return problem.status, problem.code
    return None


async def test_a_token_that_is_revoked_at_one_process_is_refused_by_the_other(pair: Pair) -> None:
    ann, token = await pair.one.user(new_name())
    assert [await refusal(served, token) for served in (pair.one, pair.other)] == [None, None]
    assert pair.other.app.state.authenticator._trusted
    async with pair.hears("token_listeners"), pair.one.client() as api:
        await api.request("DELETE", f"/v1/users/{ann.user_id}/tokens")
    assert await refusal(pair.other, token) == (401, "not-authenticated")


async def test_a_log_in_at_one_process_counts_at_the_other_behind_a_proxy_and_ends_at_both(pair: Pair) -> None:
    """The browser knows the proxy's port alone."""
    browser = {"Host": "localhost:8443", **OWN}
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(served.app), base_url="http://x", headers=browser)
            )
            for served in (pair.one, pair.other)
        ]
        logged_in = await one.post("/v1/session", json={"token": SERVICE_KEY})
        assert logged_in.status_code == 200, logged_in.text
        [(name, value)] = logged_in.cookies.items()
        assert name == "nexus_session_8443"
        cookie = {"Cookie": f"{name}={value}"}
        assert (await other.get("/v1/session", headers=cookie)).status_code == 200
        assert (await other.delete("/v1/session", headers=cookie)).status_code == 204
        assert (await one.get("/v1/session", headers=cookie)).status_code == 401


async def test_what_a_user_may_do_is_known_to_both(pair: Pair) -> None:
    ann, _ = await pair.one.user(new_name())
    ref, permissions = await register(pair), pair.other.runtime.permissions
    assert (await permissions(ann.user_id)).sees_server(ref)
    async with pair.one.client() as api, asyncio.timeout(OVER):
        for default in ("closed", "open"):
            await api.request("PATCH", "/v1/access", {"default": default})
            while (await permissions(ann.user_id)).sees_server(ref) is (default == "closed"):
                await asyncio.sleep(0.01)


async def test_the_bound_on_open_jobs_is_that_of_all_processes_together(pair: Pair) -> None:
    ann, _ = await pair.one.user(new_name())
    name = new_name()
    await register(pair, name)
    submissions = [pair.one.runtime.submission, pair.other.runtime.submission]
    request = JobRequest("tool_invoke", f"{name}__pids", {})
    for submission in [*submissions, submissions[0]]:
        await submission.submit(ann, request, label=f"{name}__pids")
    for submission in submissions:
        with pytest.raises(TooMany):
            await submission.submit(ann, request, label=f"{name}__pids")


async def test_a_rate_limit_is_that_of_all_processes_together(pair: Pair) -> None:
    server, limits = uuid4(), Limits(per_minute=3)
    limiters = [pair.one.runtime.limiter, pair.other.runtime.limiter]
    decisions = [await limiters[turn % 2].take(server, None, limits) for turn in range(6)]
    assert [decision.allowed for decision in decisions] == [True] * 3 + [False] * 3


async def test_turns_add_up(pair: Pair) -> None:
    """They protect the memory and the event loop of a process, of which there are two."""
    ann = Principal(uuid4())
    async with AsyncExitStack() as held:
        for served in (pair.one, pair.other):
            streams = served.app.state.lanes.streams
            for _ in range(2):
                await held.enter_async_context(streams.turn(ann))
            with pytest.raises(TooMany, match="NEXUS_USER_STREAMS"):
                await held.enter_async_context(streams.turn(ann))


async def test_slots_of_a_server_add_up(pair: Pair) -> None:
    ref = await register(pair)
    ann = uuid4()
    async with AsyncExitStack() as held:
        for served in (pair.one, pair.other):
            target, _ = await served.runtime.servers.open(ref)
            slots = served.runtime.connections._slots_of(target)
            for _ in range(32):
                await held.enter_async_context(slots.take(ann, patience=0.01))
            with pytest.raises(TooMany, match="NEXUS_USER_SHARE"):
                await held.enter_async_context(slots.take(ann, patience=0.01))


async def test_each_process_has_a_child_of_a_stdio_server_that_it_uses(pair: Pair) -> None:
    ref = await register(pair)
    assert count_children(pair.other, ref) == 0
    assert await call(pair.other, ref) != await call(pair.one, ref)
    assert count_children(pair.other, ref) == 1
    async with asyncio.timeout(OVER):
        while count_children(pair.one, ref) > 1:  # that of the registration ends
            await asyncio.sleep(0.01)


def count_children(served: Served, ref: ServerRef) -> int:
    return list(served.runtime.connections.children._held.values()).count(ref)


async def call(served: Served, ref: ServerRef) -> list[int]:
    """Call a server directly; the ids of the processes that answer."""
    target, _ = await served.runtime.servers.open(ref)
    result = await served.runtime.connections.request(target, ToolCall("pids"), timeout=OVER)
    pids: list[int] = result["structuredContent"]["pids"]
    return pids


async def test_a_job_under_way_at_one_process_is_company_for_a_job_at_the_other(pair: Pair) -> None:
    job_id = await pair.one.stored()
    async with asyncio.timeout(OVER):
        while job_id not in pair.other.runtime.dispatcher._live:
            await asyncio.sleep(0.01)
    with pair.other.runtime.dispatcher.arrival() as crowded:
        assert crowded


async def test_a_job_is_waited_for_and_followed_at_the_other_process(pair: Pair) -> None:
    job_id = await pair.one.stored()
    async with pair.other.client() as api:
        following = asyncio.create_task(_last_of(api, str(job_id)))
        await pair.other.until_followed()
        await pair.one.completed(await pair.one.claimed(job_id))
        assert await asyncio.wait_for(following, OVER) == "completed"


async def _last_of(api: Any, job_id: str) -> str:
    status = ""
    async for event in api.events(job_id):
        status = event.data["status"]
    return status


async def test_what_one_process_finds_in_a_catalog_the_other_searches_and_calls(pair: Pair) -> None:
    name = new_name()
    ref = await register(pair, name)
    await pair.other.until_indexed()
    async with pair.other.client() as api:
        found = await api.request("GET", "/v1/tools?q=pids")
    assert f"{name}__pids" in [tool["name"] for tool in found["items"]]
    assert await make_call(pair.other, ref)


async def test_a_server_that_is_switched_off_at_one_process_is_called_by_neither(pair: Pair) -> None:
    ref = await register(pair)
    for served in (pair.one, pair.other):
        assert await make_call(served, ref)
    async with (
        pair.hears("catalog_listeners", lambda change: change and "off" in change.kinds),
        pair.one.client() as api,
    ):
        await api.request("PATCH", f"/v1/servers/system/{ref.server_ref_id}", {"enabled": False})
    for served in (pair.one, pair.other):
        with pytest.raises(NotOffered):
            await make_call(served, ref)


async def make_call(served: Served, ref: ServerRef) -> object:
    """Make a call in the direct lane, which remembers servers and tools."""
    return await served.runtime.direct.call(DirectCall(ref, ToolCall("pids"), None, "srv__pids"))


async def test_a_login_that_is_made_at_one_process_is_heard_of_by_those_who_wait_at_the_other(pair: Pair) -> None:
    ann, _ = await pair.one.user(new_name())
    ref = await store_server(pair.one.runtime.servers, new_name())
    with pair.other.app.state.gateway.calls.logins._listen(ann, ref) as changed:
        await pair.one.runtime.logins.store(LoginKey(ref, ann.user_id), HeaderCredential("X-Api-Key", "of-this-test"))
        await asyncio.wait_for(changed.wait(), OVER)


async def test_clients_that_register_are_counted_together(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST_OF_ADDRESS", 2)
    registers = [served.app.state.authorization.clients.register for served in (pair.one, pair.other)]
    new = [OAuthClient(f"client-{number}", "A client", ["http://127.0.0.1/"], []) for number in range(4)]
    for register, client in zip(registers, new, strict=False):
        await register(client, "192.0.2.1")
    for register, client in zip(registers, new[2:], strict=True):
        with pytest.raises(TooMany):
            await register(client, "192.0.2.1")
