"""Log-in, log-out, and a session that ends in the midst of work."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.fixtures.console import Console
from tests.fixtures.served import SERVICE_KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def enter(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.get_by_label("Token").press("Enter")


async def test_a_page_leads_over_the_log_in_to_itself(console: Console) -> None:
    async with console.opened(None) as page:
        await page.goto("/?status=failed")
        await expect(page).to_have_url(re.compile(r"/login\?next="))
        await enter(page, SERVICE_KEY)
        await expect(page).to_have_url(f"{console.url}/?status=failed")
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        await expect(page.get_by_role("link", name="Audit")).to_be_visible()
        kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, history.state])")
        assert SERVICE_KEY not in kept


async def test_a_wrong_token_is_told_and_can_be_mended(console: Console) -> None:
    async with console.opened(None, expected="401") as page:
        await page.goto("/login")
        await enter(page, "not-the-key")
        await expect(page.get_by_role("alert")).to_contain_text("not known, or it was used up")
        await enter(page, console.ids["ann-token"])
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


@pytest.mark.parametrize(
    "asked", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/login", "/\\evil.example"]
)
async def test_a_log_in_leads_nowhere_else(console: Console, asked: str) -> None:
    async with console.opened(None) as page:
        await page.goto(f"/login?next={asked}")
        await enter(page, SERVICE_KEY)
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        assert page.url == f"{console.url}/"


async def test_a_link_logs_in_once_and_leaves_nothing_in_the_address(console: Console) -> None:
    async with console.served.client() as api:
        code = (await api.request("POST", "/v1/session/links"))["code"]
    async with console.opened(None) as page:
        await page.goto(f"/login#code={code}")
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        assert page.url == f"{console.url}/"
        await page.go_back()
        assert code not in page.url
    async with console.opened(None, expected="401") as page:
        await page.goto(f"/login#code={code}")
        await expect(page.get_by_role("alert")).to_contain_text("Links work once")
        assert page.url == f"{console.url}/login"


async def test_a_link_asks_before_it_takes_the_place_of_a_session(console: Console) -> None:
    async with console.served.client() as api:
        code = (await api.request("POST", "/v1/session/links"))["code"]
    async with console.opened(None) as page:
        await page.goto("/login")
        await enter(page, console.ids["ann-token"])
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        for choice, audit in (("Stay ann", 0), ("Log in by the link", 1)):
            await page.goto("about:blank")
            await page.goto(f"/login#code={code}")
            await expect(page.get_by_role("alert")).to_contain_text("You are logged in as ann.")
            assert code not in page.url
            await page.get_by_role("button", name=choice).click()
            await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
            await expect(page.get_by_role("link", name="Audit")).to_have_count(audit)


async def test_a_session_that_ends_in_the_midst_comes_back_to_the_same_page(console: Console) -> None:
    async with console.opened(expected="401") as page:
        await page.goto("/")
        await expect(page.locator("tbody tr").first).to_be_visible()
        await page.context.clear_cookies()
        await page.get_by_role("button", name="failed", exact=True).click()
        await expect(page).to_have_url(re.compile(r"/login\?next="))
        await enter(page, SERVICE_KEY)
        await expect(page).to_have_url(f"{console.url}/?status=failed")
        await expect(page.locator("tbody tr").first).to_contain_text("failed")


async def test_a_log_out_ends_the_session(console: Console) -> None:
    async with console.opened(None) as page:
        await page.goto("/login")
        await enter(page, SERVICE_KEY)
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert not await page.context.cookies()
        await page.goto("/")
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_a_user_sees_what_is_its_own(console: Console) -> None:
    async with console.opened(console.ids["ann-token"]) as page:
        await page.goto("/")
        await expect(page.locator(f'tr[data-key="{console.ids["image"]}"]')).to_be_visible()
        await expect(page.locator(f'tr[data-key="{console.ids["running"]}"]')).to_have_count(0)
        await expect(page.get_by_role("link", name="Audit")).to_have_count(0)
        await expect(page.get_by_role("columnheader", name="User")).to_have_count(0)
        await expect(page.get_by_text("ann", exact=True)).to_be_visible()


async def test_the_colours_stay_as_they_were_chosen(page: Page) -> None:
    await page.goto("/")
    await page.get_by_role("button", name="Colours: as the system").click()
    await page.get_by_role("button", name="Colours: light").click()
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
