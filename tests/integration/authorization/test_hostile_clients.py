"""Hostile clients of the hub's own authorization server: each trick by itself, and the answer to it."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.connectors import CLAUDE, DOCUMENTS, challenge_of
from tests.fixtures.connectors_hub import PUBLIC, ConnectorsHub, connectors_hub
from tests.fixtures.internet import Page, internet
from tests.fixtures.people import OWN_PAGE, HubUser
from tests.fixtures.postgres import MakeDatabase

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = "https://good.example/callback"
EVIL = "https://evil.example/callback"
VERIFIER = "v" * 43
ALL = "tools:list tools:call jobs"
Given = dict[str, str | None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(make_database: MakeDatabase) -> AsyncIterator[ConnectorsHub]:
    with pytest.MonkeyPatch.context() as patch:
        async with internet() as web, connectors_hub(make_database, web) as made:
            web.publish(*DOCUMENTS.values())
            patch.setattr("nexus_hub.authorization.clients.fetch", web.fetch)
            patch.setattr("nexus_hub.authorization.clients.READ_SECONDS", 0.5)
            yield made


@dataclass
class Attacker:
    """A client that sends what it likes."""

    hub: ConnectorsHub
    http: httpx.AsyncClient
    client_id: str = ""

    async def register(self, *redirects: str, **more: Any) -> httpx.Response:
        sent = {"client_name": "Good", "redirect_uris": list(redirects), "token_endpoint_auth_method": "none", **more}
        return await self.http.post(f"{PUBLIC}/oauth/register", json=sent)

    def _asked(self, given: Given) -> dict[str, str]:
        usual: Given = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": OWN,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            "state": "some-state",
            "resource": f"{PUBLIC}/mcp",
            "scope": ALL,
        }
        return {name: value for name, value in (usual | given).items() if value is not None}

    def url(self, **given: str | None) -> str:
        return f"{PUBLIC}/oauth/authorize?{urlencode(self._asked(given))}"

    async def authorize(self, **given: str | None) -> httpx.Response:
        return await self.http.get(self.url(**given))

    async def code(self, **given: str | None) -> str:
        """Have a person consent."""
        async with self.hub.person() as person:
            back = await person.approve(self.url(**given))
        return dict(parse_qsl(urlsplit(back).query))["code"]

    async def ask(self, **given: str | None) -> httpx.Response:
        """Ask the token endpoint."""
        form: Given = {"client_id": self.client_id, "redirect_uri": OWN, "code_verifier": VERIFIER}
        sent = {name: value for name, value in (form | given).items() if value is not None}
        return await self.http.post(f"{PUBLIC}/oauth/token", data=sent)

    async def exchange(self, code: str, **given: str | None) -> httpx.Response:
        return await self.ask(grant_type="authorization_code", code=code, **given)

    async def refresh(self, token: str, **given: str | None) -> httpx.Response:
        more: Given = {"redirect_uri": None, "code_verifier": None}
        return await self.ask(grant_type="refresh_token", refresh_token=token, **(more | given))

    async def tokens(self, **given: str | None) -> dict[str, Any]:
        answer = await self.exchange(await self.code(**given))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def use(self, token: str) -> int:
        """Send a token; the status."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        return (await self.http.post(f"{PUBLIC}/mcp", json={}, headers=headers)).status_code


@asynccontextmanager
async def attacking(hub: ConnectorsHub, *redirects: str) -> AsyncIterator[Attacker]:
    """A client that has registered."""
    async with hub.http() as http:
        made = Attacker(hub, http)
        registered = await made.register(*(redirects or (OWN,)))
        assert registered.status_code == 201, registered.text
        made.client_id = registered.json()["client_id"]
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacker(hub: ConnectorsHub) -> AsyncIterator[Attacker]:
    """A client that somebody has let act for them."""
    async with attacking(hub) as made:
        await made.tokens()
        yield made


def assert_stopped(answer: httpx.Response, *words: str) -> None:
    """See that a browser stays at the hub, with the reason."""
    assert 400 <= answer.status_code < 500, answer.text
    assert "location" not in answer.headers
    assert EVIL not in answer.text
    for word in words:
        assert word in answer.text


def assert_sent_back(answer: httpx.Response, error: str) -> None:
    """See that the client is told, with the issuer and its state."""
    assert answer.is_redirect, answer.text
    back = urlsplit(answer.headers["location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == OWN
    said = dict(parse_qsl(back.query))
    assert (said["error"], said["iss"]) == (error, PUBLIC)
    assert "code" not in said


def assert_refused(answer: httpx.Response, error: str, status: int = 400) -> None:
    """See OAuth's error at the token endpoint."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text


REDIRECTS = [
    EVIL,
    "https://good.example/other",
    "https://good.example/callback/",
    "https://good.example/callback?next=https://evil.example",
    "https://good.example/callback#x",
    "https://good.example/callback/../other",
    "https://good.example/CALLBACK",
    "https://good.example:8443/callback",
    "https://good.example.evil.example/callback",
    "https://good.example@evil.example/callback",
    "https://evil.example\\@good.example/callback",
    "http://good.example/callback",
    "//evil.example/callback",
    "javascript:alert(1)//good.example/callback",
    "https://good.example/callback\r\nLocation: https://evil.example",
    "",
]


@pytest.mark.parametrize("redirect", REDIRECTS)
async def test_a_redirect_that_is_not_the_clients_is_not_opened(attacker: Attacker, redirect: str) -> None:
    """Also of a client that people have let act for them, and though it says no more than an error."""
    assert_stopped(await attacker.authorize(redirect_uri=redirect), "redirect_uri")
    assert_stopped(await attacker.authorize(redirect_uri=redirect, response_type="token"))


@pytest.mark.parametrize("redirect", [EVIL, "https://claude.ai/api/mcp/auth_callback/x", "http://localhost/callback"])
async def test_a_redirect_that_is_not_in_the_document_is_not_opened(hub: ConnectorsHub, redirect: str) -> None:
    async with hub.http() as http:
        made = Attacker(hub, http, CLAUDE["client_id"])
        assert_stopped(await made.authorize(redirect_uri=redirect), "redirect_uri")


@pytest.mark.parametrize(
    "redirect",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "http://good.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "https://user@good.example/callback",
        "https://good.example/callback#x",
        "https:///callback",
        "good.example/callback",
        "https://good.example/" + "x" * 4000,
    ],
)
async def test_no_client_registers_an_address_to_which_no_code_may_go(hub: ConnectorsHub, redirect: str) -> None:
    async with hub.http() as http:
        answer = await Attacker(hub, http).register(OWN, redirect)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] in {"invalid_redirect_uri", "invalid_client_metadata"}


WITHOUT: list[tuple[Given, str]] = [
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"state": None}, "invalid_request"),
    ({"state": ""}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code id_token"}, "unsupported_response_type"),
    ({"scope": "root"}, "invalid_scope"),
    ({"resource": "https://other.example/mcp"}, "invalid_target"),
    ({"resource": f"{PUBLIC}/v1"}, "invalid_target"),
    ({"resource": f"{PUBLIC}/mcp/../v1"}, "invalid_target"),
    ({"resource": "https://hub.example.evil.example/mcp"}, "invalid_target"),
]


@pytest.mark.parametrize(("given", "error"), WITHOUT, ids=[str(given) for given, _ in WITHOUT])
async def test_what_a_request_lacks_is_told_to_a_client_that_people_know(
    attacker: Attacker, given: Given, error: str
) -> None:
    assert_sent_back(await attacker.authorize(**given), error)


async def test_a_client_that_nobody_knows_is_sent_no_browser(hub: ConnectorsHub) -> None:
    """Anybody may register an address: the hub is no open redirect to it."""
    async with attacking(hub, EVIL) as made:
        for given, _ in WITHOUT:
            assert_stopped(await made.authorize(redirect_uri=EVIL, **given))


async def test_a_parameter_twice_is_refused(attacker: Attacker) -> None:
    for more in ("redirect_uri", "client_id", "state", "resource"):
        assert_stopped(await attacker.http.get(f"{attacker.url()}&{more}=x"), "twice")


async def test_a_code_is_good_once(attacker: Attacker) -> None:
    """Its second use ends all that the first one gave."""
    code = await attacker.code()
    tokens = (await attacker.exchange(code)).json()
    assert await attacker.use(tokens["access_token"]) != 401
    assert_refused(await attacker.exchange(code), "invalid_grant")
    assert await attacker.use(tokens["access_token"]) == 401
    assert_refused(await attacker.refresh(tokens["refresh_token"]), "invalid_grant")


async def test_a_code_sent_ten_times_at_once_gives_tokens_once_at_most(attacker: Attacker) -> None:
    code = await attacker.code()
    answers = await asyncio.gather(*(attacker.exchange(code) for _ in range(10)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": challenge_of(VERIFIER)},
        {"redirect_uri": EVIL},
        {"redirect_uri": "https://good.example/callback?x"},
    ],
    ids=str,
)
async def test_a_stolen_code_is_worth_nothing(attacker: Attacker, given: Given) -> None:
    """Without the verifier, or sent as if it had come to another address."""
    answer = await attacker.exchange(await attacker.code(), **given)
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_grant", "invalid_request"}


async def test_a_code_without_a_verifier_is_refused(attacker: Attacker) -> None:
    answer = await attacker.exchange(await attacker.code(), code_verifier=None)
    assert_refused(answer, "invalid_request")


async def test_a_code_is_good_for_its_client_alone(hub: ConnectorsHub, attacker: Attacker) -> None:
    """And another one that tries spoils it for nobody."""
    code = await attacker.code()
    async with attacking(hub, OWN) as other:
        assert_refused(await other.exchange(code), "invalid_grant")
    assert (await attacker.exchange(code)).status_code == 200


async def test_a_refresh_token_that_comes_back_ends_its_family(attacker: Attacker) -> None:
    """Of two who hold it, one has stolen it."""
    first = await attacker.tokens()
    second = (await attacker.refresh(first["refresh_token"])).json()
    third = (await attacker.refresh(second["refresh_token"])).json()
    assert_refused(await attacker.refresh(first["refresh_token"]), "invalid_grant")
    assert_refused(await attacker.refresh(third["refresh_token"]), "invalid_grant")
    for tokens in (first, second, third):
        assert await attacker.use(tokens["access_token"]) == 401


async def test_a_refresh_token_gives_no_more_than_was_granted(hub: ConnectorsHub, attacker: Attacker) -> None:
    tokens = await attacker.tokens(scope="tools:list")
    assert_refused(await attacker.refresh(tokens["refresh_token"], scope=ALL), "invalid_scope")
    assert_refused(await attacker.refresh(tokens["refresh_token"], resource=f"{PUBLIC}/mcp/lit"), "invalid_target")
    async with attacking(hub, OWN) as other:
        assert_refused(await other.refresh(tokens["refresh_token"]), "invalid_grant")
    assert (await attacker.refresh(tokens["refresh_token"])).json()["scope"] == "tools:list"


async def test_codes_and_refresh_tokens_are_no_access_tokens(attacker: Attacker) -> None:
    assert await attacker.use(await attacker.code()) == 401
    tokens = await attacker.tokens()
    assert await attacker.use(tokens["refresh_token"]) == 401
    assert_refused(await attacker.refresh(tokens["access_token"]), "invalid_grant")
    assert_refused(await attacker.exchange(tokens["refresh_token"]), "invalid_grant")


async def test_another_client_revokes_nothing(hub: ConnectorsHub, attacker: Attacker) -> None:
    """Its own client ends a whole grant."""
    tokens = await attacker.tokens()
    async with attacking(hub, OWN) as other:
        form = {"client_id": other.client_id, "token": tokens["access_token"]}
        await other.http.post(f"{PUBLIC}/oauth/revoke", data=form)
    assert await attacker.use(tokens["access_token"]) != 401
    form = {"client_id": attacker.client_id, "token": tokens["refresh_token"]}
    assert (await attacker.http.post(f"{PUBLIC}/oauth/revoke", data=form)).status_code == 200
    assert await attacker.use(tokens["access_token"]) == 401


async def test_a_client_with_a_secret_has_to_show_it(hub: ConnectorsHub) -> None:
    async with hub.http() as http:
        made = Attacker(hub, http)
        registered = (await made.register(OWN, token_endpoint_auth_method="client_secret_post")).json()
        made.client_id = registered["client_id"]
        code = await made.code()
        for secret in (None, "", "wrong", registered["client_secret"][:-1]):
            assert_refused(await made.exchange(code, client_secret=secret), "invalid_client", 401)
        assert (await made.exchange(code, client_secret=registered["client_secret"])).status_code == 200


async def test_the_token_endpoint_takes_forms_alone(attacker: Attacker) -> None:
    url = f"{PUBLIC}/oauth/token"
    assert_refused(await attacker.http.post(url, json={"grant_type": "refresh_token"}), "invalid_request")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    twice = await attacker.http.post(url, content="grant_type=refresh_token&grant_type=x", headers=form)
    assert_refused(twice, "invalid_request")
    large = await attacker.http.post(url, content="x=" + "y" * 100_000, headers=form)
    assert large.status_code == 413
    assert (await attacker.http.get(url)).status_code == 405
    assert_refused(await attacker.ask(grant_type="password", username="ann", password="x"), "unsupported_grant_type")
    assert_refused(await attacker.ask(grant_type="client_credentials"), "unsupported_grant_type")


ID = "https://evil.example/client.json"
GOOD: dict[str, Any] = {"client_id": ID, "client_name": "Evil", "redirect_uris": [OWN]}


def _page(**more: Any) -> Page:
    return Page(json.dumps(GOOD | more).encode())


PAGES: dict[str, tuple[Page, str]] = {
    "redirects": (Page(status=302, headers={"location": "http://127.0.0.1/"}), "redirect"),
    "is huge": (Page(json.dumps(GOOD | {"x": "y" * 200_000}).encode()), "limit"),
    "is slow": (Page(b"{", hangs=True), "within"),
    "names another id": (_page(client_id=CLAUDE["client_id"]), "client_id"),
    "names its id in other letters": (_page(client_id=ID.upper()), "client_id"),
    "is no JSON": (Page(b"<html>"), "JSON"),
    "is a list": (Page(b"[]"), "JSON"),
    "is not there": (Page(status=404), "404"),
    "is broken": (Page(status=500), "500"),
    "has no redirect": (_page(redirect_uris=[]), "redirect_uris"),
    "has none but bad ones": (_page(redirect_uris=["javascript:x"]), "redirect"),
    "has redirects of another kind": (_page(redirect_uris="x"), "redirect_uris"),
    "has a secret": (_page(client_secret="x"), "secret"),
    "wants a secret": (_page(token_endpoint_auth_method="client_secret_post"), "none"),
    "can only sign": (_page(token_endpoint_auth_method="private_key_jwt"), "none"),
    "wants other grants": (_page(grant_types=["client_credentials"]), "authorization_code"),
    "is deep": (Page(b'{"a":' * 10_000), "JSON"),
    "is compressed": (Page(b"x", headers={"content-encoding": "gzip", "content-type": "application/json"}), "compress"),
}


@pytest.mark.parametrize("habit", PAGES)
async def test_a_document_that_can_not_be_used_is_refused(hub: ConnectorsHub, habit: str) -> None:
    hub.internet.pages[ID], word = PAGES[habit]
    async with hub.http() as http:
        assert_stopped(await Attacker(hub, http, ID).authorize(), word)


@pytest.mark.parametrize(
    "client_id",
    [
        "https://127.0.0.1/client.json",
        "https://localhost/client.json",
        "https://10.0.0.1/client.json",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/client.json",
        "https://[::ffff:127.0.0.1]/client.json",
        "https://0x7f000001/client.json",
        "https://2130706433/client.json",
        "http://good.example/client.json",
        "https://good.example",
        "https://good.example/",
        "https://good.example/a/../client.json",
        "https://good.example/client.json#x",
        "https://user:secret@good.example/client.json",
        "file:///etc/passwd",
        "gopher://good.example/x",
        "https://good.example/" + "x" * 3000,
        "nobody",
        "\x00",
    ],
)
async def test_an_id_that_leads_to_no_public_document_is_refused(hub: ConnectorsHub, client_id: str) -> None:
    async with hub.http() as http:
        assert_stopped(await Attacker(hub, http, client_id).authorize())


async def test_a_document_is_read_once_for_many_requests(hub: ConnectorsHub) -> None:
    """A client can't have the hub ask a host again and again."""
    hub.internet.pages[ID] = _page()
    hub.internet.fetched.clear()
    async with hub.http() as http:
        for _ in range(5):
            assert (await Attacker(hub, http, ID).authorize()).is_redirect
    assert hub.internet.fetched.count(ID) == 1


async def opened(hub: ConnectorsHub, attacker: Attacker, person: HubUser, **given: str | None) -> str:
    """A request at its page of consent, and a person who is signed in; the path of the answer."""
    request = await person.open(attacker.url(**given))
    await person.sign_in()
    return f"{PUBLIC}/v1/oauth/requests/{request}"


async def test_only_the_hubs_own_page_answers_for_a_person(hub: ConnectorsHub, attacker: Attacker) -> None:
    yes = {"approve": True}
    async with hub.person() as ann:
        path = await opened(hub, attacker, ann)
        for foreign in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
        ):
            assert (await ann.http.post(path, json=yes, headers=foreign)).status_code == 403, foreign
        async with hub.http() as nobody:
            assert (await nobody.post(path, json=yes, headers=OWN_PAGE)).status_code == 401
            bearer = {"Authorization": f"Bearer {ann.token}"}
            assert (await nobody.post(path, json=yes, headers=bearer)).status_code == 403
        assert (await ann.http.post(path, json=yes, headers=OWN_PAGE)).status_code == 200
        assert (await ann.http.post(path, json=yes, headers=OWN_PAGE)).status_code == 404


async def test_a_person_grants_no_more_than_was_asked_for(hub: ConnectorsHub, attacker: Attacker) -> None:
    """Nor what only the operator has."""
    async with hub.person() as ann:
        path = await opened(hub, attacker, ann, scope="tools:list admin")
        shown = (await ann.http.get(path, headers=OWN_PAGE)).json()
        assert [one["scope"] for one in shown["scopes"]] == ["tools:list"]
        for scopes in (["tools:call"], ["admin"], ["tools:list", "admin"], [], ["root"]):
            answer = await ann.http.post(path, json={"approve": True, "scopes": scopes}, headers=OWN_PAGE)
            assert 400 <= answer.status_code < 500, scopes


async def test_a_request_that_is_not_there_is_not_answered(hub: ConnectorsHub) -> None:
    async with hub.person() as ann:
        await ann.sign_in()
        for name in ("x", secrets.token_hex(16), "00000000-0000-0000-0000-000000000000"):
            answer = await ann.http.post(f"{PUBLIC}/v1/oauth/requests/{name}", json={"approve": True}, headers=OWN_PAGE)
            assert answer.status_code in {404, 422}


async def test_a_name_that_would_fool_a_person_is_made_plain(hub: ConnectorsHub) -> None:
    async with hub.http() as http, hub.person() as ann:
        made = Attacker(hub, http)
        name = "Claude\u202e\n\n<b>hub.example</b>\u200b" + "x" * 500
        made.client_id = (await made.register(OWN, client_name=name)).json()["client_id"]
        path = await opened(hub, made, ann)
        shown = (await ann.http.get(path, headers=OWN_PAGE)).json()["client"]
    assert len(shown["name"]) <= 110
    assert shown["name"].isprintable()
    assert shown["verified"] is False


async def test_a_flood_of_registrations_is_refused_and_nobody_else_is_lost(
    hub: ConnectorsHub, attacker: Attacker
) -> None:
    """The last one: from now on this address registers no more for a while."""
    tokens = await attacker.tokens()
    async with hub.http() as http:
        made = Attacker(hub, http)
        answers = [await made.register(OWN) for _ in range(60)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await attacker.refresh(tokens["refresh_token"])).status_code == 200
    async with hub.http() as http:
        assert (
            await Attacker(hub, http, CLAUDE["client_id"]).authorize(redirect_uri=CLAUDE["redirect_uris"][0])
        ).is_redirect
