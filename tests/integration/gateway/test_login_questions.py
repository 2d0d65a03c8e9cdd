"""Calls that need a login: their clients open the page, and the calls go on; nobody's login is used for another."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.gateway import login_questions
from nexus_hub.live.listener import CatalogChange, CatalogKind
from nexus_hub.models import Principal, ServerRef
from tests.fixtures.careless import Careless
from tests.fixtures.keys import Json, Keys, credential, register
from tests.fixtures.served import Served

_ID = UUID(int=7)
CLIENTS = pytest.mark.parametrize("mode", ["auto", "legacy"], ids=["modern-client", "legacy-client"])


class Ann:
    """A person whose client opens pages, where `logs_in` sets the person's key at the server."""

    def __init__(self, served: Served, token: str, server: Json) -> None:
        self.served, self.token, self.server = served, token, server
        self.asked: list[Any] = []
        self.notices: list[Any] = []
        self.action: Any = "accept"
        self.seconds = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def log_in(self) -> None:
        await asyncio.sleep(self.seconds)
        async with self.served.client(self.token) as api:
            await api.request("PUT", credential(self.server), {"value": "ann"})

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        del context
        self.asked.append(params)
        if self.action == "accept" and self.seconds:
            self._tasks.append(asyncio.create_task(self.log_in()))
        elif self.action == "accept":
            await self.log_in()
        return types.ElicitResult(action=self.action)

    async def hear(self, message: Any) -> None:
        self.notices.append(message)

    async def call(self, mode: str, **callbacks: Any) -> types.CallToolResult:
        callbacks = callbacks or {"elicitation_callback": self.elicit}
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {self.token}"}, timeout=60) as http,
            Client(
                streamable_http_client(f"{self.served.url}/mcp", http_client=http),
                mode=mode,
                message_handler=self.hear,
                **callbacks,
            ) as client,
        ):
            return await client.call_tool("srv__say", {})


@pytest.fixture
def keys(careless: Careless) -> Keys:
    return Keys(careless)


@pytest.fixture
async def ann(served: Served, careless: Careless, keys: Keys) -> Ann:
    """A user who has not logged in at a server that the operator has logged in at."""
    _, token = await served.user("ann")
    async with served.client() as api:
        server = await register(api, careless, credentials="per-user")
        await api.request("PUT", credential(server), {"value": "all"})
    return Ann(served, token, server)


def link_of(ann: Ann) -> str:
    return f"{ann.served.url}/servers/system/{ann.server['id']}?connect=1"


@CLIENTS
@pytest.mark.parametrize("seconds", [0, 0.3], ids=["before-the-answer", "after-the-answer"])
async def test_a_call_goes_on_once_its_user_has_logged_in(ann: Ann, keys: Keys, mode: str, seconds: float) -> None:
    ann.seconds = seconds
    result = await ann.call(mode)
    assert not result.is_error
    (asked,) = ann.asked
    assert (asked.mode, asked.url) == ("url", link_of(ann))
    assert asked.message == "The server 'srv' needs your login: you are not logged in at it."
    assert keys.called_with == ["k-ann"]


@CLIENTS
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_who_does_not_want_to_log_in_gets_the_link(ann: Ann, keys: Keys, mode: str, action: str) -> None:
    ann.action = action
    result = await ann.call(mode)
    assert len(ann.asked) == 1
    assert_told(ann, result)
    assert keys.called_with == []


@CLIENTS
async def test_a_client_that_opens_no_pages_gets_the_link(ann: Ann, keys: Keys, mode: str) -> None:
    assert_told(ann, await ann.call(mode, list_roots_callback=None))
    assert keys.called_with == []


def assert_told(ann: Ann, result: types.CallToolResult) -> None:
    assert result.is_error
    assert isinstance(text := result.content[0], types.TextContent)
    assert f"you are not logged in at it; open {link_of(ann)}" in text.text
    assert (result.meta or {})["nexus-hub/error"] == {"code": "login-needed", "link": link_of(ann)}


@CLIENTS
async def test_a_login_that_does_not_come_ends_the_call(
    ann: Ann, keys: Keys, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_questions, "LOGIN_SECONDS", 0.2)
    monkeypatch.setattr(login_questions, "ROUND_SECONDS", 0.1)
    ann.seconds = 60
    assert_told(ann, await ann.call(mode))
    assert len(ann.asked) == {"auto": len(login_questions.KEYS), "legacy": 1}[mode]
    assert keys.called_with == []


async def test_the_client_hears_that_the_login_is_complete(ann: Ann) -> None:
    ann.seconds = 0.3
    await ann.call("legacy")
    told = [one.root if hasattr(one, "root") else one for one in ann.notices]
    ids = [one.params.elicitation_id for one in told if "elicitation/complete" in str(getattr(one, "method", ""))]
    assert ids == [ann.asked[0].elicitation_id]


async def test_what_serves_all_is_no_question_for_users(served: Served, careless: Careless, keys: Keys) -> None:
    _, token = await served.user("ann")
    async with served.client() as api:
        server = await register(api, careless)
        await api.request("PUT", credential(server), {"value": "all"})
        ann = Ann(served, token, server)
        await api.request("DELETE", credential(server))
        result = await ann.call("auto")
    assert isinstance(text := result.content[0], types.TextContent)
    assert "ask who runs the hub" in text.text
    assert ann.asked == []


def test_only_changes_of_ones_own_logins_wake_who_waits() -> None:
    """Who waits at a login of one's own is not told that it is complete when somebody else's is."""
    questions = login_questions.LoginQuestions(None)
    ref, other = ServerRef("system", _ID), ServerRef("user", _ID)
    login: frozenset[CatalogKind] = frozenset({"login"})
    with questions._listen(Principal(_ID), ref) as changed:
        for change in (
            CatalogChange(ref, None, frozenset({"tools"})),
            CatalogChange(other, None, login),
            CatalogChange(ref, UUID(int=8), login),
        ):
            questions.notice(change)
            assert not changed.is_set()
        for its_own in (CatalogChange(ref, _ID, login), CatalogChange(ref, None, login), None):
            questions.notice(its_own)
            assert changed.is_set()
            changed.clear()
    with questions._listen(Principal(), other) as changed:  # an operator at a user's server
        questions.notice(CatalogChange(other, _ID, login))
        assert changed.is_set()
