"""Calls that need a person's yes: asked for in the chat where its own will do, and by a handle elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import HubError
from nexus_hub.execution.attempt import Attempt
from nexus_hub.upstream.config import StdioConfig
from tests.fixtures.approvals import GRANT
from tests.fixtures.served import Served

TOOL, ARGUMENTS = "time__get_current_time", {"timezone": "UTC"}
CLIENTS = pytest.mark.parametrize("mode", ["auto", "legacy"], ids=["modern-client", "legacy-client"])


class Asker:
    """A person whose client asks with `elicit`, and a worker that makes the calls that may be made."""

    def __init__(self, served: Served, token: str) -> None:
        self.served, self.token = served, token
        self.asked: list[Any] = []
        self.answer = types.ElicitResult(action="accept", content={"approve": True})

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        del context
        self.asked.append(params)
        return self.answer

    @asynccontextmanager
    async def client(self, mode: str, **callbacks: Any) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {self.token}"}, timeout=60) as http,
            Client(
                streamable_http_client(f"{self.served.url}/mcp", http_client=http), mode=mode, **callbacks
            ) as client,
        ):
            yield client

    async def waiting(self) -> list[dict[str, Any]]:
        async with self.served.client() as api:
            found: list[dict[str, Any]] = (await api.request("GET", "/v1/approvals", state="waiting"))["items"]
            return found

    async def work(self) -> None:
        """Make the calls that are due, as a worker does."""
        while True:
            async with self.served.client() as api:
                jobs = (await api.request("GET", "/v1/jobs", status="pending"))["items"]
            for job in jobs:
                claimed = await self.served.execution.claim(UUID(job["id"]), job["attempt"] + 1, uuid4())
                if isinstance(claimed, Attempt):
                    await self._make(claimed)
            await asyncio.sleep(0.05)

    async def _make(self, attempt: Attempt) -> None:
        with self.served.execution.hold(attempt):
            try:
                await self.served.execution.make_steps().run(attempt)
            except HubError as error:
                attempt.failure = error
            await self.served.execution.record(attempt)


@pytest.fixture
async def ann(served: Served, time_server: StdioConfig) -> AsyncIterator[Asker]:
    server = await served.runtime.servers.register("time", time_server)
    _, token = await served.user("ann")
    async with served.database.transaction() as transaction:
        await transaction.run(GRANT, server=server.id, tool=None, approvers=None, self_approval=True)
    asker = Asker(served, token)
    working = asyncio.create_task(asker.work())
    yield asker
    await cancel_and_wait(working)


@CLIENTS
async def test_a_yes_in_the_chat_lets_the_call_go_on(ann: Asker, mode: str) -> None:
    async with ann.client(mode, elicitation_callback=ann.elicit) as client:
        result = await client.call_tool(TOOL, ARGUMENTS)
        assert not result.is_error
        assert '"timezone": "UTC"' in result.content[0].text  # type: ignore[union-attr]
        (question,) = ann.asked
        assert TOOL in question.message
        assert '"timezone": "UTC"' in question.message
        async with ann.served.client() as api:
            (shown,) = (await api.request("GET", "/v1/approvals"))["items"]
        assert (shown["state"], shown["decided_via"], shown["decided_by"]) == ("used", "elicitation", "ann")

        ann.answer = types.ElicitResult(action="accept", content={"approve": False})
        denied = await client.call_tool(TOOL, ARGUMENTS)
        assert denied.is_error
        assert "has said no" in denied.content[0].text  # type: ignore[union-attr]


@CLIENTS
async def test_without_an_answer_in_the_chat_there_is_a_handle(ann: Asker, mode: str) -> None:
    ann.answer = types.ElicitResult(action="cancel")
    async with ann.client(mode, elicitation_callback=ann.elicit) as client:
        handle = await client.call_tool(TOOL, ARGUMENTS)
        (waiting,) = await ann.waiting()
        text = handle.content[0].text  # type: ignore[union-attr]
        assert f"/approvals/{waiting['id']}" in text
        wait = {"id": waiting["job_id"], "seconds": 1}
        still = await client.call_tool("hub__job_wait", wait)
        assert "waits for a person's yes" in still.content[0].text  # type: ignore[union-attr]
        async with ann.served.client() as api:
            answer = {"approve": True, "digest": waiting["digest"]}
            await api.request("POST", f"/v1/approvals/{waiting['id']}", answer)
        result = await client.call_tool("hub__job_wait", wait | {"seconds": 60})
        assert '"timezone": "UTC"' in result.content[0].text  # type: ignore[union-attr]
    assert len(ann.asked) == 1


async def test_a_client_that_can_t_ask_gets_a_handle(ann: Asker) -> None:
    async with ann.client("auto") as client:
        handle = await client.call_tool(TOOL, ARGUMENTS)
    (waiting,) = await ann.waiting()
    assert f"/approvals/{waiting['id']}" in handle.content[0].text  # type: ignore[union-attr]


async def test_who_leaves_before_an_answer_leaves_no_question(ann: Asker) -> None:
    entered = asyncio.Event()

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError(context, params)

    async def call() -> None:
        async with ann.client("legacy", elicitation_callback=elicit) as client:
            await client.call_tool(TOOL, ARGUMENTS)

    calling = asyncio.create_task(call())
    await entered.wait()
    await cancel_and_wait(calling)
    async with asyncio.timeout(30), ann.served.client() as api:
        while (await api.request("GET", "/v1/jobs", status="pending"))["items"]:
            await asyncio.sleep(0.05)
