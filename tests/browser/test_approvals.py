"""The console's pages of approvals: what waits for a person's yes, and the yes or no to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_hostile import UNSEEN
from tests.fixtures.console import Console
from tests.fixtures.console_access import group
from tests.fixtures.console_rows import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUARDED = {"level": "approve", "server": "files", "tool": "archive"}
PLACE = {"city": "Bern", "days": 3}


@asynccontextmanager
async def guarded(console: Console, **more: Any) -> AsyncIterator[None]:
    """A tool to each call of which a person has to say yes, if ann makes it."""
    asked = GUARDED | {"approvers": "deciders"} | more
    async with group(console, "deciders", members=["ben"]), group(console, "asked", asked, members=["ann"]):
        yield


async def ask(console: Console, arguments: dict[str, Any] = PLACE) -> str:
    """Let ann ask for a call; the id of its job."""
    body = {"job_type": "tool_invoke", "name": "files__archive", "arguments": arguments}
    async with console.served.client(console.ids["ann-token"]) as api:
        job = await api.request("POST", "/v1/jobs", body)
    return str(job["id"])


async def approval_of(console: Console, job_id: str) -> dict[str, Any]:
    """What is stored of the question of a job."""
    async with console.served.client() as api:
        found = await api.request("GET", "/v1/approvals")
    return next(one for one in found["items"] if one["job_id"] == job_id)


async def opened(page: Page, console: Console, job_id: str) -> None:
    """Open the page of a job's approval by its row, and wait until what would be sent is there."""
    approval = await approval_of(console, job_id)
    await page.goto("/approvals")
    await page.locator(f'a[href="/approvals/{approval["id"]}"]').click()
    await expect(page.get_by_role("heading", name="What would be sent")).to_be_visible()


async def test_a_call_is_looked_at_and_gets_its_yes(console: Console) -> None:
    async with guarded(console), console.opened() as page:
        await page.goto("/approvals")
        await expect(page.get_by_text("Nothing waits for you")).to_be_visible()
        job_id = await ask(console, PLACE | {"exact": 12345678901234567890})
        row = page.get_by_role("table", name="Waiting for you").get_by_role("row").filter(has_text="files__archive")
        await expect(row).to_contain_text("ann")
        await row.get_by_role("link").click()
        await expect(page.locator(".sent")).to_contain_text("12345678901234567890")
        await page.get_by_label("Reason").fill("Only once.")
        await page.get_by_role("button", name="Yes, call it").click()
        await expect(page.locator("main h1")).to_contain_text("about to be called")
        await expect(page.get_by_role("button", name="Yes, call it")).to_have_count(0)
        said = await approval_of(console, job_id)
        assert (said["state"], said["reason"], said["decided_via"]) == ("approved", "Only once.", "console")
        await page.goto("/approvals")
        await expect(page.get_by_role("table", name="Decided")).to_contain_text("Only once.")


async def test_the_list_of_jobs_says_that_one_waits_for_a_yes(console: Console) -> None:
    async with guarded(console), console.opened() as page:
        job_id = await ask(console, PLACE)
        await page.goto("/jobs")
        row = page.get_by_role("row").filter(has=page.locator(f'a[href="/jobs/{job_id}"]'))
        await expect(row).to_contain_text("waits for a yes, too late in")


async def test_a_no_ends_the_job_with_its_reason(console: Console) -> None:
    async with guarded(console), console.opened() as page:
        job_id = await ask(console)
        await page.goto(f"/jobs/{job_id}")
        await expect(page.get_by_role("heading", name="Waits for a person")).to_be_visible()
        await expect(page.locator(".notices")).to_contain_text("Who may say it: an operator, a member of deciders.")
        await page.get_by_role("link", name="Open the approval").click()
        await page.get_by_label("Reason").fill("Not that folder.")
        await page.get_by_role("button", name="No", exact=True).click()
        await expect(page.locator("main h1")).to_contain_text("denied")
        await page.get_by_role("link", name="Open the job").click()
        await expect(page.get_by_role("heading", name="A person was asked, and has said no.")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("Not that folder.")


async def test_who_asks_sees_it_wait_and_has_no_buttons(console: Console) -> None:
    async with guarded(console), console.opened(console.ids["ann-token"]) as page:
        job_id = await ask(console)
        await page.goto("/approvals")
        await expect(page.get_by_role("table", name="Waiting for others")).to_contain_text("files__archive")
        await expect(page.locator(".nav-count:visible")).to_have_count(0)
        await opened(page, console, job_id)
        await expect(page.locator("main")).to_contain_text(
            "It waits for an operator, or a member of deciders, to say yes."
        )
        await expect(page.get_by_role("button", name="Yes, call it")).to_have_count(0)


async def test_a_member_of_the_grants_group_says_yes_and_others_see_nothing(console: Console) -> None:
    async with guarded(console), console.opened(console.ids["ben-token"]) as page:
        job_id = await ask(console)
        await page.goto("/approvals")
        await expect(page.get_by_role("link", name="Approvals 1 waiting")).to_be_visible()
        await opened(page, console, job_id)
        await page.get_by_role("button", name="Yes, call it").click()
        await expect(page.locator(".facts")).to_contain_text("by ben in the console")
    async with console.opened(console.ids["ben-token"]) as page:
        await page.goto("/approvals")
        await expect(page.get_by_text("Nothing was decided yet")).to_be_visible()


async def test_who_asks_may_say_it_in_person_where_the_grant_says_so(console: Console) -> None:
    async with guarded(console, self_approval=True), console.opened(console.ids["ann-token"]) as page:
        job_id = await ask(console)
        await opened(page, console, job_id)
        await page.get_by_role("button", name="Yes, call it").click()
        await expect(page.locator("main h1")).to_contain_text("about to be called")


async def test_a_call_that_was_answered_meanwhile_is_not_answered_twice(console: Console) -> None:
    async with guarded(console), console.opened(expected="409") as page:
        job_id = await ask(console)
        await opened(page, console, job_id)
        approval = await approval_of(console, job_id)
        answer = {"approve": False, "digest": approval["digest"]}

        async def overtake(route: Route) -> None:
            if route.request.method == "POST":
                async with console.served.client() as api:
                    await api.request("POST", f"/v1/approvals/{approval['id']}", answer)
            await route.continue_()

        await page.route(f"**/v1/approvals/{approval['id']}", overtake)
        await page.get_by_role("button", name="Yes, call it").click()
        await expect(page.get_by_role("alert")).to_contain_text("has its answer")
        await expect(page.locator("main h1")).to_contain_text("denied")


async def test_hostile_arguments_are_shown_and_do_nothing(console: Console) -> None:
    async with guarded(console), console.opened(console.ids["ben-token"]) as page:
        job_id = await ask(console, PLACE | {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]})
        await opened(page, console, job_id)
        await expect(page.locator(".sent")).to_contain_text("onerror=alert(1)")
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert await page.evaluate(UNSEEN) == []
