"""The console's pages of access: the default, groups and grants, and what one user may do."""

import pytest
from playwright.async_api import Page, expect

from tests.fixtures.console import Console
from tests.fixtures.console_access import group, opened_hub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def confirmed(page: Page, name: str) -> None:
    """Say yes to the dialog that asks."""
    await page.get_by_role("dialog").get_by_role("button", name=name).click()
    await page.get_by_role("dialog").wait_for(state="detached")


async def test_a_group_is_made_filled_and_granted_something(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/access")
        await page.get_by_label("New group").fill("analysts")
        await page.get_by_role("button", name="Add group").click()
        await expect(page.get_by_role("heading", name="analysts", level=1)).to_be_visible()
        await expect(page.get_by_text("Nothing is granted")).to_be_visible()
        await page.get_by_label("New member").select_option("ann")
        await page.get_by_role("button", name="Add member").click()
        await expect(page.get_by_role("button", name="Take ann out")).to_be_visible()
        await page.get_by_label("Grant", exact=True).select_option("a tool")
        await page.get_by_label("Server").select_option("files")
        await page.get_by_label("Tool", exact=True).select_option("archive")
        await page.get_by_label("Members may").select_option("approve")
        await page.get_by_label("whoever asks may say it, too").check()
        await page.get_by_role("button", name="Grant", exact=True).click()
        row = page.get_by_role("table", name="Grants").get_by_role("row").filter(has_text="archive")
        await expect(row).to_contain_text("call after a yes")
        await expect(row).to_contain_text("operators, who asks")
        await page.get_by_label("Names of groups at the issuer").fill("acme/data\n\n  acme/more ")
        await page.get_by_role("button", name="Save claims").click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        async with console.served.client() as api:
            made = await api.request("GET", "/v1/groups/analysts")
        assert (made["claims"], [one["name"] for one in made["members"]]) == (["acme/data", "acme/more"], ["ann"])
        await page.goto("/access?user=ann")
        of_ann = page.get_by_role("table", name="Permissions").get_by_role("row").filter(has_text="archive")
        await expect(of_ann).to_contain_text("the group analysts")
        await page.get_by_role("table", name="Groups").get_by_role("link", name="analysts").click()
        await page.get_by_role("button", name="Take ann out").click()
        await expect(page.get_by_text("Nobody was put in by hand.")).to_be_visible()
        await row.get_by_role("button", name="Revoke").click()
        await confirmed(page, "Revoke")
        await expect(page.get_by_text("Nothing is granted")).to_be_visible()
        await page.get_by_role("button", name="Remove group").click()
        await confirmed(page, "Remove")
        await expect(page.get_by_role("link", name="analysts")).to_have_count(0)


async def test_the_default_is_changed_once_that_is_confirmed(console: Console) -> None:
    async with opened_hub(console), console.opened() as page:
        await page.goto("/access")
        await page.get_by_label("closed:").check()
        await page.keyboard.press("Escape")
        await expect(page.get_by_label("open:")).to_be_checked()
        await page.get_by_label("closed:").check()
        await confirmed(page, "Close")
        await page.reload()
        await expect(page.get_by_label("closed:")).to_be_checked()
        async with console.opened(console.ids["ben-token"]) as his:
            await his.goto("/tools")
            await expect(his.get_by_text("No tools yet")).to_be_visible()
            await his.goto("/account")
            await expect(his.get_by_text("Nothing at all")).to_be_visible()


async def test_a_user_reads_what_oneself_may_do_and_manages_nothing(console: Console) -> None:
    granted = {"level": "list", "server": "weather"}
    async with group(console, "readers", granted, members=["ben"]):
        async with console.opened(console.ids["ben-token"], expected="403") as page:
            await page.goto("/account")
            row = page.get_by_role("table", name="Permissions").get_by_role("row").filter(has_text="weather")
            await expect(row).to_contain_text("see")
            await expect(row).to_contain_text("the group readers")
            await expect(page.get_by_role("link", name="Access", exact=True)).to_have_count(0)
            await page.goto("/access")
            await expect(page.get_by_role("alert")).to_contain_text("operator")
        async with console.opened() as page:
            await page.goto("/users/ben")
            await expect(page.get_by_role("table", name="Permissions")).to_contain_text("the group readers")


async def test_what_can_not_be_granted_is_said(console: Console) -> None:
    async with group(console, "taken"), console.opened(expected="409") as page:
        await page.goto("/access")
        await page.get_by_label("New group").fill("taken")
        await page.get_by_role("button", name="Add group").click()
        await expect(page.get_by_role("alert")).to_contain_text("taken")
        await expect(page.get_by_label("New group")).to_have_value("taken")


async def test_everyone_can_not_be_emptied_or_removed(page: Page) -> None:
    await page.goto("/access/everyone")
    await expect(page.get_by_role("heading", name="everyone", level=1)).to_be_visible()
    await expect(page.get_by_text("Every user belongs to this group.")).to_be_visible()
    for name in ("Remove group", "Add member", "Save claims"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
