"""The page on which a client is let in: from its first request to its tokens, in a browser."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from tests.fixtures.axe import ALL_RULES, COLOURS, is_wider_than_window, require_axe, violations
from tests.fixtures.console import Console
from tests.fixtures.console_rows import HOSTILE
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")
BACK = "http://127.0.0.1:9/back"
"""Where a client waits for its answer; the browser is given one there, and nothing listens."""
HOSTILE_NAME = f"{HOSTILE} verified by nexus-hub {'x' * 60}"[:200]


@dataclass
class Client:
    """A client that registers by itself."""

    url: str
    id: str
    verifier: str

    @property
    def request(self) -> str:
        """The address that it opens in its user's browser."""
        asked = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": BACK,
            "state": "the-state",
            "resource": f"{self.url}/mcp",
            "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
            .rstrip(b"=")
            .decode(),
            "code_challenge_method": "S256",
        }
        return f"{self.url}/oauth/authorize?{urlencode(asked)}"

    async def exchange(self, code: str) -> dict[str, Any]:
        """Get its tokens."""
        form = {"grant_type": "authorization_code", "client_id": self.id, "code": code}
        form |= {"redirect_uri": BACK, "code_verifier": self.verifier, "resource": f"{self.url}/mcp"}
        async with httpx.AsyncClient() as asking:
            answer = await asking.post(f"{self.url}/oauth/token", data=form)
        assert answer.is_success, answer.text
        return dict(answer.json())


async def client_of(console: Console, name: str = "Test client") -> Client:
    """Register a client."""
    told = {"client_name": name, "redirect_uris": [BACK], "token_endpoint_auth_method": "none"}
    async with httpx.AsyncClient() as asking:
        answer = await asking.post(f"{console.url}/oauth/register", json=told)
    assert answer.is_success, answer.text
    return Client(console.url, answer.json()["client_id"], secrets.token_urlsafe(48))


@asynccontextmanager
async def asked(
    console: Console, user: str | None = "ann", name: str = "Test client", **more: Any
) -> AsyncIterator[Page]:
    """A page that a client has opened; `page.client` is the client."""
    client = await client_of(console, name)
    token = user and console.ids[f"{user}-token"]
    async with console.opened(token, **more) as page:
        await page.route(f"{BACK}*", lambda route: route.fulfill(body="back", content_type="text/plain"))
        await page.goto(client.request)
        page.client = client  # type: ignore[attr-defined]
        yield page


def client_on(page: Page) -> Client:
    client: Client = page.client  # type: ignore[attr-defined]
    return client


async def came_back(page: Page) -> dict[str, str]:
    """What the client is told."""
    await page.wait_for_url(f"{BACK}*")
    return dict(parse_qsl(urlsplit(page.url).query))


async def test_a_client_is_let_in_after_a_log_in_and_can_call(console: Console) -> None:
    async with asked(console, None) as page:
        await expect(page.get_by_text("A client wants to act for you. Log in first")).to_be_visible()
        await page.get_by_label("Token").fill(console.ids["ann-token"])
        await page.get_by_label("Token").press("Enter")
        await expect(page.get_by_role("heading", name="A client asks for access")).to_be_visible()
        for words in ("Test client", "ann", "127.0.0.1:9, a program on this computer", f"{console.url}/mcp"):
            await expect(page.locator("main")).to_contain_text(words)
        await expect(page.get_by_role("navigation")).to_have_count(0)
        await page.get_by_role("button", name="Allow").click()
        told = await came_back(page)
        assert (told["state"], told["iss"]) == ("the-state", console.url)
        tokens = await client_on(page).exchange(told["code"])
        assert set(tokens["scope"].split()) == {"tools:list", "tools:call", "jobs"}
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {tokens['access_token']}"}) as api:
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            answer = await api.post(
                f"{console.url}/mcp", json=ping, headers={"Accept": "application/json, text/event-stream"}
            )
            assert answer.status_code not in {401, 403}, answer.text


async def test_a_client_gets_only_what_was_left_to_it(console: Console) -> None:
    async with asked(console) as page:
        await page.locator('input[value="tools:call"]').uncheck()
        await page.locator("input[value=jobs]").uncheck()
        await page.get_by_role("button", name="Allow").click()
        tokens = await client_on(page).exchange((await came_back(page))["code"])
        assert tokens["scope"] == "tools:list"


async def test_a_client_operates_the_hub_only_if_the_operator_ticks_that(console: Console) -> None:
    async with asked(console, None) as page:
        await page.get_by_label("Token").fill(SERVICE_KEY)
        await page.get_by_label("Token").press("Enter")
        await expect(page.locator("main")).to_contain_text("the operator")
        await page.goto(f"{client_on(page).request}&scope=tools:list+admin")
        await expect(page.locator("input[value=admin]")).not_to_be_checked()
        await page.get_by_role("button", name="Allow").click()
        tokens = await client_on(page).exchange((await came_back(page))["code"])
        assert tokens["scope"] == "tools:list"


async def test_nothing_can_be_allowed_without_anything(console: Console) -> None:
    async with asked(console) as page:
        allow = page.get_by_role("button", name="Allow")
        await expect(allow).to_be_enabled()
        for box in await page.get_by_role("checkbox").all():
            await box.uncheck()
        await expect(allow).to_be_disabled()


async def test_a_no_is_told_to_the_client(console: Console) -> None:
    async with asked(console) as page:
        await page.get_by_role("button", name="Deny").click()
        told = await came_back(page)
        assert told["error"] == "access_denied"
        assert told["state"] == "the-state"
        assert "code" not in told


async def test_a_question_is_answered_once(console: Console) -> None:
    async with asked(console, expected="404") as page:
        question = page.url
        await page.get_by_role("button", name="Deny").click()
        await came_back(page)
        await page.goto(question)
        await expect(page.get_by_role("heading", name="This question is over")).to_be_visible()
        await page.goto("/oauth/consent")
        await expect(page.get_by_role("heading", name="This question is over")).to_be_visible()


async def test_a_click_meant_for_a_window_above_allows_nothing(console: Console) -> None:
    async with asked(console) as page:
        await expect(page.get_by_role("button", name="Allow")).to_be_enabled()
        uncovered = """() => {
            const allow = [...document.querySelectorAll("button")].find((one) => one.textContent === "Allow");
            dispatchEvent(new Event("focus"));
            return allow.disabled;
        }"""
        assert await page.evaluate(uncovered)
        await expect(page.get_by_role("button", name="Allow")).to_be_enabled()


async def test_somebody_else_can_take_the_place_of_who_is_logged_in(console: Console) -> None:
    async with asked(console) as page:
        await page.get_by_role("button", name="Not you?").click()
        await page.get_by_label("Token").fill(console.ids["ben-token"])
        await page.get_by_label("Token").press("Enter")
        await expect(page.locator("main")).to_contain_text("act for you, ben")


async def test_a_sign_in_link_opened_beside_it_brings_one_on(console: Console) -> None:
    async with console.served.client() as api:
        code = (await api.request("POST", "/v1/users/ann/links"))["code"]
    async with asked(console, None) as page:
        await page.get_by_label("Token").wait_for()
        beside = await page.context.new_page()
        await beside.goto(f"/login#code={code}")
        await expect(beside.get_by_role("heading", name="Jobs")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("act for you, ann")


@pytest.mark.parametrize(
    ("verified", "words", "others"),
    [
        (True, ["Client", "Published by", "claude.ai"], ["goes elsewhere", "Calls itself"]),
        (False, ["The client is that of claude.ai, but the answer goes elsewhere"], ["own choice"]),
    ],
)
async def test_a_client_with_a_host_is_named_by_it(
    console: Console, verified: bool, words: list[str], others: list[str]
) -> None:
    client = {"name": "Claude", "id": "https://claude.ai/client.json", "host": "claude.ai", "verified": verified}

    async def answer(route: Route) -> None:
        shown = await (await route.fetch()).json()
        await route.fulfill(json=shown | {"client": client})

    async with asked(console) as page:
        await page.route("**/v1/oauth/requests/*", answer)
        await page.reload()
        for one in words:
            await expect(page.locator("main")).to_contain_text(one)
        for one in others:
            await expect(page.locator("main")).not_to_contain_text(one)


async def test_a_hostile_name_stays_text(console: Console) -> None:
    async with asked(console, name=HOSTILE_NAME) as page:
        main = page.locator("main")
        await expect(main).to_contain_text("Calls itself")
        await expect(main).to_contain_text("the name is its own choice")
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert "\u202e" not in await main.inner_text()
        assert await page.title() == "A client asks for access · nexus-hub"


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "no address"])
async def test_the_page_goes_to_no_address_that_would_run_here(console: Console, address: str) -> None:
    async with asked(console) as page:
        question = page.url
        await page.route(
            "**/v1/oauth/requests/*",
            lambda route: (
                route.fulfill(json={"redirect_to": address}) if route.request.method == "POST" else route.continue_()
            ),
        )
        await page.get_by_role("button", name="Allow").click()
        await expect(page.locator(".toast, [role=alert]").first).to_contain_text("no page may go to")
        assert page.url == question


@pytest.mark.parametrize(
    ("view", "rules"),
    [
        ({"color_scheme": "light"}, ALL_RULES),
        ({"color_scheme": "dark"}, COLOURS),
        ({"viewport": {"width": 360, "height": 800}}, ALL_RULES),
    ],
)
async def test_the_question_can_be_read_by_everybody(
    console: Console, view: dict[str, Any], rules: dict[str, Any]
) -> None:
    axe = require_axe()
    async with asked(console, name=HOSTILE_NAME, bypass_csp=True, **view) as page:
        await expect(page.get_by_role("button", name="Allow")).to_be_enabled()
        assert not await violations(page, axe, rules)
        assert not await is_wider_than_window(page)


async def test_the_question_is_answered_from_the_keyboard(console: Console) -> None:
    async with asked(console) as page:
        await expect(page.get_by_role("button", name="Allow")).to_be_enabled()
        seen = []
        for _ in range(8):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate("document.activeElement.textContent || document.activeElement.value"))
            if seen[-1] == "Deny":
                break
        await page.keyboard.press("Enter")
        assert (await came_back(page))["error"] == "access_denied", seen
