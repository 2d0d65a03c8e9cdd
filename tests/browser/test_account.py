"""Tokens, sign-in links and grants in the console: on a user's page, and on one's own account."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.test_consent import asked, came_back, client_on
from tests.fixtures.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def made_token(page: Page, name: str) -> str:
    """Make a token on a page, and read it."""
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_role("button", name="Make a token").click()
    return await page.get_by_label("Token", exact=True).inner_text()


async def test_a_user_makes_uses_and_revokes_a_token_of_ones_own(console: Console) -> None:
    async with console.opened(console.ids["ben-token"]) as page:
        await page.goto("/")
        await page.get_by_role("link", name="Account of ben").click()
        await page.get_by_label("Good for").select_option("30 days")
        token = await made_token(page, "laptop of ben")
        row = page.get_by_role("row").filter(has_text="laptop of ben")
        await expect(row).to_contain_text("everything")
        await expect(row).to_contain_text("never")
        async with console.opened(token) as other:
            await other.goto("/account")
            await expect(other.locator(".lead")).to_contain_text("You are ben")
        await page.reload()
        assert token not in await page.content()
        await page.get_by_role("button", name="Revoke the token laptop of ben").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(row).to_contain_text("revoked")
    async with console.opened(None, expected="401") as page:
        await page.goto("/login")
        await page.get_by_label("Token").fill(token)
        await page.get_by_label("Token").press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not known")


async def test_a_token_has_the_scopes_that_were_chosen(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/users")
        await page.get_by_role("link", name="ben", exact=True).click()
        await page.locator('input[value="tools:call"]').uncheck()
        await page.locator("input[value=jobs]").uncheck()
        token = await made_token(page, "reader")
        row = page.get_by_role("row").filter(has_text="reader")
        await expect(row).to_contain_text("tools:list")
        await expect(row).not_to_contain_text("tools:call")
        answer = await page.request.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 403


async def test_a_token_that_may_do_nothing_is_not_made(console: Console) -> None:
    async with console.opened(console.ids["ben-token"]) as page:
        await page.goto("/account")
        await expect(page.get_by_role("checkbox")).to_have_count(3)
        for box in await page.get_by_role("checkbox").all():
            await box.uncheck()
        await page.get_by_role("button", name="Make a token").click()
        await expect(page.get_by_role("alert")).to_contain_text("at least one thing")


async def test_a_sign_in_link_logs_its_user_in_once(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/users/ann")
        await page.get_by_label("Good for").first.select_option("an hour")
        await page.get_by_role("button", name="Make a link").click()
        address = await page.get_by_label("Sign-in link", exact=True).last.inner_text()
        assert address.startswith(f"{console.url}/login#code=")
    async with console.opened(None) as page:
        await page.goto(address)
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        await page.get_by_role("link", name="Account of ann").click()
        await expect(page.locator(".lead")).to_contain_text("You are ann.")
    async with console.opened(None, expected="401") as page:
        await page.goto(address)
        await expect(page.get_by_role("alert")).to_contain_text("Links work once")


async def test_a_client_that_was_let_in_is_shut_out(console: Console) -> None:
    async with asked(console, "ben", "Desk of ben") as page:
        await page.get_by_role("button", name="Allow").click()
        tokens = await client_on(page).exchange((await came_back(page))["code"])
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        await page.goto("/account")
        row = page.get_by_role("row").filter(has_text="Desk of ben")
        await expect(row).to_contain_text("a name of its own choice")
        await page.get_by_role("button", name="Shut out Desk of ben").click()
        await page.get_by_role("dialog").get_by_role("button", name="Shut out").click()
        await expect(row).to_have_count(0)
        answer = await page.request.post("/mcp", headers=headers, data={})
        assert answer.status == 401


async def test_an_operator_has_an_account_without_tokens(page: Page) -> None:
    await page.goto("/account")
    await expect(page.locator("main")).to_contain_text("You hold the service key")
    await expect(page.get_by_role("button", name="Make a token")).to_have_count(0)


async def test_a_user_that_is_not_there_is_said(console: Console) -> None:
    async with console.opened(expected="404") as page:
        await page.goto("/users/nobody-of-that-name")
        await expect(page.get_by_role("alert").first).to_contain_text("nobody-of-that-name")


async def test_an_operator_takes_back_all_that_lets_a_user_in(console: Console) -> None:
    async with console.served.client() as api:
        await api.request("POST", "/v1/users", {"name": "leaver"})
        token = (await api.request("POST", "/v1/users/leaver/tokens"))["token"]
    async with console.opened() as page, console.opened(token, expected="401") as hers:
        await page.goto("/users/leaver")
        await page.get_by_role("button", name="Revoke all").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(page.get_by_role("row").filter(has_text="everything")).to_contain_text("revoked")
        await hers.goto("/account")
        await expect(hers.get_by_label("Token")).to_be_visible()
