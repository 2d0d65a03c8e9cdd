"""Logins at upstream servers in the console: OAuth at a real issuer, and keys that users give."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, Route, expect

from tests.fixtures.careless import Careless, Reply, succeed
from tests.fixtures.console import Console
from tests.fixtures.oidc import Issuer, begin_anew
from tests.fixtures.upstreams import free_port, own_command, start

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEY = "a-key-of-ann-0123456789"
TOOL = {"name": "look", "description": "Look around", "inputSchema": {"type": "object"}}


@asynccontextmanager
async def registered(console: Console, **server: Any) -> AsyncIterator[str]:
    """The page of a server that is removed afterwards."""
    async with console.served.client() as api:
        added = await api.request("POST", "/v1/servers", server)
        assert added["status"] == "needs-login"
        try:
            yield f"/servers/system/{added['id']}"
        finally:
            await api.request("DELETE", f"/v1/servers/system/{added['id']}")


@asynccontextmanager
async def keyed(console: Console, name: str, key: str = KEY) -> AsyncIterator[str]:
    """The page of a server at which each user has a key."""
    port = free_port()
    server = Careless(f"http://127.0.0.1:{port}/mcp", on_request=takes_only(key))
    more = {"login": {"kind": "header"}, "credentials": "per-user"}
    async with (
        await asyncio.start_server(server.serve, "127.0.0.1", port),
        registered(console, name=name, url=server.url, **more) as page,
    ):
        yield page


def takes_only(key: str) -> Callable[[str, dict[str, str]], Reply | None]:
    def look(method: str, headers: dict[str, str]) -> Reply | None:
        if headers.get("authorization") != f"Bearer {key}":
            return Reply(status=401, headers={"www-authenticate": "Bearer"})
        return succeed(tools=[TOOL]) if method == "tools/list" else None

    return look


@asynccontextmanager
async def guarded(console: Console, issuer_url: str, name: str, **more: Any) -> AsyncIterator[str]:
    """The page of a server that wants tokens of the issuer."""
    await begin_anew(Issuer(issuer_url))
    port = free_port()
    server = await start(*own_command("guarded"), "--issuer", issuer_url, "--port", str(port), port=port)
    try:
        login = {"kind": "oauth", "issuer": issuer_url}  # named, since it is in the network of this machine
        async with registered(console, name=name, url=server.url, login=login, **more) as page:
            yield page
    finally:
        await server.kill()


def login_of(page: Page) -> Any:
    return page.get_by_role("region", name="Login")


async def test_a_user_gives_a_key_of_ones_own_and_takes_it_back(console: Console) -> None:
    async with keyed(console, "keyed") as path, console.opened(console.ids["ann-token"]) as page:
        await page.goto("/servers")
        row = page.get_by_role("row").filter(has_text="keyed")
        await expect(row).to_contain_text("needs login")
        await row.get_by_role("link", name="Connect keyed").click()
        await expect(page.get_by_label("Your key or token")).to_be_focused()
        await page.keyboard.type(KEY)
        await page.keyboard.press("Enter")
        await expect(login_of(page)).to_contain_text("logged in")
        await expect(login_of(page)).to_contain_text("go back to where you came from")
        await expect(page.get_by_role("link", name="look")).to_be_visible()
        assert KEY not in await page.content()
        async with console.opened(console.ids["ben-token"]) as other:
            await other.goto(path)
            await expect(login_of(other)).to_contain_text("needs login")
        await login_of(page).get_by_role("button", name="Remove").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(login_of(page)).to_contain_text("needs login")
        await expect(page.get_by_role("link", name="look")).to_be_visible()


async def test_one_logs_in_at_a_server_and_its_tools_arrive(console: Console, issuer_url: str) -> None:
    async with guarded(console, issuer_url, "board") as path, console.opened() as page:
        await page.goto(f"{path}?connect=1")
        await expect(page.get_by_role("button", name="Connect")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="You are logged in")).to_be_visible()
        assert page.url == f"{console.url}/oauth/callback"
        await expect(page.locator("main")).to_contain_text("board")
        await page.get_by_role("button", name="Go to the server").click()
        await expect(login_of(page)).to_contain_text("logged in")
        await expect(page.get_by_role("link", name="whoami")).to_be_visible()
        await login_of(page).get_by_role("button", name="Disconnect").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(login_of(page)).to_contain_text("needs login")


async def test_a_no_at_the_server_is_said_and_leaves_no_login(console: Console, issuer_url: str) -> None:
    async with guarded(console, issuer_url, "board-no") as path, console.opened(expected="Failed to load") as page:
        await Issuer(issuer_url).steer(deny=True)
        await page.goto(path)
        await page.get_by_role("button", name="Connect").click()
        await expect(page.get_by_role("heading", name="The login did not succeed")).to_be_visible()
        assert page.url == f"{console.url}/oauth/callback"
        await page.goto(path)
        await expect(login_of(page)).to_contain_text("needs login")


async def test_a_login_goes_on_after_a_log_in_to_the_hub_without_its_code_in_an_address(
    console: Console, issuer_url: str
) -> None:
    async with guarded(console, issuer_url, "board-late") as path, console.opened(expected="401") as page:

        async def end_session(route: Route) -> None:
            begun = await route.fetch()
            await page.context.clear_cookies()
            await route.fulfill(response=begun)

        await page.route("**/v1/servers/*/*/login", end_session)
        await page.goto(path)
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_label("Token").wait_for()
        assert "code" not in page.url
        assert "state" not in page.url
        await page.get_by_label("Token").fill("the-service-key-of-this-test")
        await page.get_by_label("Token").press("Enter")
        await expect(page.get_by_role("heading", name="You are logged in")).to_be_visible()


async def test_nobody_finishes_a_login_that_somebody_else_began(console: Console, issuer_url: str) -> None:
    async with (
        guarded(console, issuer_url, "board-ann", credentials="per-user") as path,
        console.opened(console.ids["ann-token"]) as page,
        console.opened(console.ids["ben-token"], expected="Failed to load") as other,
    ):
        begun = await page.request.post(f"/v1{path}/login", data={}, headers={"Origin": console.url})
        sent = await Issuer(issuer_url).sign_in((await begun.json())["authorization_url"])
        await other.goto(f"/oauth/callback?{urlencode(sent)}")
        await expect(other.get_by_role("heading", name="The login did not succeed")).to_be_visible()
        for one in (page, other):
            await one.goto(path)
            await expect(login_of(one)).to_contain_text("needs login")


async def test_an_address_without_a_login_finishes_nothing(console: Console) -> None:
    async with console.opened(expected="Failed to load") as page:
        await page.goto("/oauth/callback")
        await expect(page.get_by_role("heading", name="There is nothing to finish")).to_be_visible()
        await page.goto("/oauth/callback?state=made-up&code=made-up")
        await expect(page.get_by_role("heading", name="The login did not succeed")).to_be_visible()
        assert page.url == f"{console.url}/oauth/callback"


async def test_a_shared_login_is_an_operators_alone(console: Console, issuer_url: str) -> None:
    async with guarded(console, issuer_url, "board-all") as path, console.opened(console.ids["ann-token"]) as page:
        await page.goto(path)
        await expect(login_of(page)).to_contain_text("an operator takes care of it")
        await expect(page.get_by_role("button", name="Connect")).to_have_count(0)


async def test_a_server_that_wants_a_login_is_added_by_the_form(console: Console, issuer_url: str) -> None:
    await begin_anew(Issuer(issuer_url))
    port = free_port()
    server = await start(*own_command("guarded"), "--issuer", issuer_url, "--port", str(port), port=port)
    try:
        async with console.opened() as page:
            await page.goto("/servers?add=form")
            await page.get_by_label("Name", exact=True).fill("by-login")
            await page.get_by_label("URL", exact=True).fill(server.url)
            await page.get_by_label("Login", exact=True).select_option("OAuth, with more to say")
            await page.get_by_label("Issuer").fill(issuer_url)
            await page.get_by_label("Whose login").select_option("each user has an own one")
            await page.get_by_role("button", name="Add server").last.click()
            await expect(login_of(page)).to_contain_text("Each user logs in here by oneself")
            await expect(page.get_by_role("button", name="Connect")).to_be_focused()
            added = page.url.removeprefix(console.url).partition("?")[0]
        async with console.served.client() as api:
            await api.request("DELETE", f"/v1{added}")
    finally:
        await server.kill()
