"""Requests that carry a login: renewed when the server refuses it, apart for each user, and never shown."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest

from nexus_hub.errors import LoginNeeded, TooMany, UpstreamRejected, UpstreamUnavailable
from nexus_hub.models import ServerRef
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.careless import Careless, Reply, reply_error, succeed
from tests.fixtures.upstreams import target

SAY = ToolCall("say")
ANN, BOB = uuid4(), uuid4()


@dataclass
class Login:
    """A login whose token is `name-1`, then `name-2`; `fault` is raised instead of giving it."""

    name: str = "token"
    renewed: int = 0
    refused: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)
    fault: Exception | None = None
    on_renew: Exception | None = None

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.name}-{self.renewed + 1}"}

    async def headers(self) -> Mapping[str, str]:
        if self.fault is not None:
            raise self.fault
        return self._headers

    async def renew(self, refused: Mapping[str, str]) -> Mapping[str, str]:
        if self.on_renew is not None:
            raise self.on_renew
        self.refused.append(refused["Authorization"])
        if refused == self._headers:
            self.renewed += 1
        return self._headers

    async def ask_for(self, scope: str) -> None:
        self.asked_for.append(scope)
        raise LoginNeeded("upstream", "it wants the scope too", "https://hub.example/connect")


class Gate:
    """Lets requests pass that carry a token which it knows; `seen` has the method and token of each."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.seen: list[tuple[str, str]] = []

    def __call__(self, method: str, headers: dict[str, str]) -> Reply | None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        self.seen.append((method, token))
        if token in self.known:
            return None
        challenge = {"www-authenticate": 'Bearer resource_metadata="https://a.example/.well-known/x"'}
        return Reply(f"token {token} has expired".encode(), 401, "text/plain", challenge)

    def count(self, method: str, token: str) -> int:
        return self.seen.count((method, token))


def logged_in(careless: Careless, login: Login, user_id: UUID | None = None) -> Target:
    return replace(target(HttpConfig(url=careless.url)), credentials=login, login_of=user_id)


async def test_every_request_carries_the_credential_of_the_moment(connections: Connections, careless: Careless) -> None:
    login, gate = Login(), Gate("token-1", "token-2")
    careless.on_request = gate
    server = logged_in(careless, login)
    await connections.request(server, SAY, timeout=60)
    login.renewed = 1
    await connections.request(server, SAY, timeout=60)
    assert careless.opened == 1
    assert [token for method, token in gate.seen if method == "tools/call"] == ["token-1", "token-2"]
    assert not [seen for seen in gate.seen if not seen[1]]


async def test_a_refused_credential_is_renewed_and_the_call_sent_again(
    connections: Connections, careless: Careless
) -> None:
    login, gate = Login(), Gate("token-1")
    careless.on_request = gate
    server = logged_in(careless, login)
    await connections.request(server, SAY, timeout=60)
    gate.known = {"token-2"}
    await asyncio.gather(*(connections.request(server, SAY, timeout=60) for _ in range(5)))
    assert careless.calls == 6
    assert login.renewed == 1
    assert (careless.opened, gate.count("tools/call", "token-2")) == (1, 5)


async def test_a_credential_that_another_process_had_renewed_may_be_refused_too(
    connections: Connections, careless: Careless
) -> None:
    login, gate = Login(), Gate("token-1")
    careless.on_request = gate
    server = logged_in(careless, login)
    await connections.request(server, SAY, timeout=60)
    gate.known = {"token-3"}
    await connections.request(server, SAY, timeout=60)
    assert (login.refused, careless.calls) == (["Bearer token-1", "Bearer token-2"], 2)


async def test_a_credential_that_is_refused_again_needs_a_person(connections: Connections, careless: Careless) -> None:
    login, gate = Login(), Gate("token-1")
    careless.on_request = gate
    server = logged_in(careless, login)
    await connections.request(server, SAY, timeout=60)
    gate.known = set()
    with pytest.raises(LoginNeeded, match="even after it was renewed") as caught:
        await connections.request(server, SAY, timeout=60)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert (login.refused, careless.calls) == (["Bearer token-1", "Bearer token-2"], 1)
    assert connections.circuits.of(server.ref).failures == 0


@pytest.mark.parametrize("after", [0, 1])
async def test_a_login_that_is_needed_is_told_with_its_link_before_anything_is_sent(
    connections: Connections, careless: Careless, after: int
) -> None:
    login, gate = Login(), Gate("token-1")
    careless.on_request = gate
    server = logged_in(careless, login)
    for _ in range(after):
        await connections.request(server, SAY, timeout=60)
    sent = len(gate.seen)
    login.fault = LoginNeeded("upstream", "nobody has logged in", "https://hub.example/connect")
    for _ in range(4):
        with pytest.raises(LoginNeeded, match="nobody has logged in; open https://hub") as caught:
            await connections.request(server, SAY, timeout=60)
        assert caught.value.link == "https://hub.example/connect"
    assert len(gate.seen) == sent
    assert connections.circuits.of(server.ref).failures == 0

    login.fault = None
    await connections.request(server, SAY, timeout=60)


@pytest.mark.parametrize("after", [0, 1])
async def test_a_login_that_cannot_be_had_just_now_is_an_unavailable_server(
    connections: Connections, careless: Careless, after: int
) -> None:
    login = Login()
    server = logged_in(careless, login)
    for _ in range(after):
        await connections.request(server, SAY, timeout=60)
    login.fault = UpstreamUnavailable("upstream", "The authorization server does not answer.", 7)
    with pytest.raises(UpstreamUnavailable, match="authorization server does not answer") as caught:
        await connections.request(server, SAY, timeout=60)
    assert caught.value.retry_after == 7
    login.fault = None
    await connections.request(server, SAY, timeout=60)


@pytest.mark.parametrize(
    ("challenge", "scope"),
    [
        ('Bearer error="insufficient_scope", scope="mail:send read"', "mail:send read"),
        ("Bearer error=insufficient_scope", ""),
        ('Bearer error="insufficient_scope", scope="<script>"', ""),
    ],
)
async def test_more_scopes_are_asked_for(
    connections: Connections, careless: Careless, challenge: str, scope: str
) -> None:
    login = Login()
    careless.on_call = lambda: Reply(b"{}", 403, headers={"www-authenticate": challenge})
    with pytest.raises(LoginNeeded, match="wants the scope too"):
        await connections.request(logged_in(careless, login), SAY, timeout=60)
    assert login.asked_for == [scope]


async def test_another_403_is_a_refusal(connections: Connections, careless: Careless) -> None:
    login = Login()
    careless.on_call = lambda: Reply(b"not for you", 403, "text/plain")
    with pytest.raises(UpstreamRejected, match="not for you") as caught:
        await connections.request(logged_in(careless, login), SAY, timeout=60)
    assert (login.asked_for, caught.value.challenge) == ([], "")


async def test_a_401_keeps_what_the_server_wants(connections: Connections, careless: Careless) -> None:
    careless.on_request = Gate()
    with pytest.raises(UpstreamRejected, match="HTTP 401") as caught:
        await connections.request(target(HttpConfig(url=careless.url)), SAY, timeout=60)
    assert caught.value.challenge == 'Bearer resource_metadata="https://a.example/.well-known/x"'


async def test_the_servers_words_never_repeat_a_token(connections: Connections, careless: Careless) -> None:
    login = Login()
    server = logged_in(careless, login)
    await connections.request(server, SAY, timeout=60)
    login.renewed = 1
    careless.on_call = lambda: reply_error(-32000, "sent token-1 before, token-2 now")
    with pytest.raises(UpstreamRejected, match=r"sent \*\*\* before, \*\*\* now"):
        await connections.request(server, SAY, timeout=60)


async def test_users_with_logins_of_their_own_share_no_session(connections: Connections, careless: Careless) -> None:
    gate = Gate("ann-1", "bob-1")
    careless.on_request = gate
    server = logged_in(careless, Login("ann"), ANN)
    others = replace(server, credentials=Login("bob"), login_of=BOB)
    for one, user in ((server, ANN), (others, BOB), (server, ANN)):
        await connections.request(one, SAY, timeout=60, user_id=user)
    assert careless.opened == 2
    assert [token for method, token in gate.seen if method == "tools/call"] == ["ann-1", "bob-1", "ann-1"]


async def test_one_users_missing_login_is_no_hindrance_to_others(connections: Connections, careless: Careless) -> None:
    missing = Login(fault=LoginNeeded("upstream", "nobody has logged in"))
    server = logged_in(careless, missing, ANN)
    for _ in range(5):
        with pytest.raises(LoginNeeded):
            await connections.request(server, SAY, timeout=60)
    await connections.request(replace(server, credentials=Login(), login_of=BOB), SAY, timeout=60)


async def test_connections_of_a_users_own_login_go_when_they_are_idle(careless: Careless) -> None:
    async with Connections(log_dir=None, idle_seconds=0.05) as connections:
        server = logged_in(careless, Login(), ANN)
        await connections.request(server, SAY, timeout=60)
        await connections.request(replace(server, login_of=None), SAY, timeout=60)
        async with asyncio.timeout(30):
            while server.key in connections._held:
                await asyncio.sleep(0.02)
        assert list(connections._held) == [(server.ref, None)]
        await connections.request(server, SAY, timeout=60)
    assert careless.opened == 3


async def test_all_logins_of_a_server_share_its_slots(careless: Careless) -> None:
    async with Connections(log_dir=None, concurrency=2) as connections:
        server = logged_in(careless, Login(), ANN)
        other = replace(server, login_of=None)
        async with connections.slot(server, ANN, patience=1):
            with pytest.raises(TooMany):
                async with connections.slot(other, ANN, patience=0):
                    pass
        async with connections.slot(other, ANN, patience=0):
            pass


async def test_all_logins_of_a_server_share_its_circuit(careless: Careless, connections: Connections) -> None:
    server = logged_in(careless, Login(), ANN)
    connections.check(server)
    connections.circuits.of(server.ref).fail("gone", decisive=True)
    with pytest.raises(UpstreamUnavailable):
        connections.check(replace(server, login_of=BOB))


async def test_a_new_login_opens_a_session_of_its_own(connections: Connections, careless: Careless) -> None:
    careless.on_call = succeed
    server = logged_in(careless, Login("ann"), ANN)
    other = replace(server, login_of=BOB)
    for one in (server, other):
        await connections.request(one, SAY, timeout=60)
    connections.forget_login(server.ref, ANN)
    for one in (server, other):
        await connections.request(one, SAY, timeout=60)
    assert careless.opened == 3


async def test_where_changes_may_have_been_missed_each_login_opens_a_session_anew(
    connections: Connections, careless: Careless
) -> None:
    """A login may have been removed, or have become another account's; what takes none keeps its session."""
    careless.on_call = succeed
    ann = logged_in(careless, Login("ann"), ANN)
    plain = replace(ann, ref=ServerRef("system", BOB), credentials=None, login_of=None)
    for one in (ann, plain):
        await connections.request(one, SAY, timeout=60)
    connections.forget_logins()
    for one in (ann, plain):
        await connections.request(one, SAY, timeout=60)
    assert careless.opened == 3
