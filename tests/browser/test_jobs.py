"""Jobs, as people look at them while they move."""

import asyncio
import re
from typing import Any

import psycopg
import pytest
from playwright.async_api import Locator, Page, expect

from tests.fixtures.console import Console
from tests.fixtures.console_rows import add_job

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def stored(console: Console, **columns: Any) -> str:
    """A new job; its id."""
    async with await psycopg.AsyncConnection.connect(console.served.admin_url, autocommit=True) as connection:
        return str(
            await add_job(connection, **{"server": console.ids["files"], "tool_name": "search", "age": 0} | columns)
        )


def row(page: Page, job_id: str) -> Locator:
    return page.locator(f'tr[data-key="{job_id}"]')


async def live(page: Page, path: str = "/") -> None:
    await page.goto(path)
    await expect(page.locator(".stream")).to_have_text("Live")
    await expect(page.locator("tbody tr").first).to_be_visible()


async def test_a_row_says_state_tool_and_reason(page: Page, console: Console) -> None:
    await live(page)
    failed = row(page, console.ids["failed"])
    await expect(failed).to_contain_text("failed")
    await expect(failed).to_contain_text("The server 'files' can't be reached: the connection was refused.")
    await expect(failed).not_to_contain_text("three times")
    await expect(row(page, console.ids["image"])).to_contain_text("1.84 s")
    await expect(row(page, console.ids["hostile"])).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(page.locator("tbody tr")).to_have_count(50)


async def test_a_job_comes_moves_and_ends_without_a_reload(page: Page, console: Console) -> None:
    await live(page)
    job_id = await stored(console, status="pending", tool_name="archive")
    await expect(row(page, job_id)).to_contain_text("waiting")
    await expect(page.locator("tbody tr").first).to_have_attribute("data-key", job_id)
    await console.execute(
        "UPDATE job_results SET status = 'failed', error = 'out of paper', completed_at = now() WHERE id = %(id)s",
        id=job_id,
    )
    await expect(row(page, job_id)).to_contain_text("failed")
    await expect(row(page, job_id)).to_contain_text("out of paper")


async def test_nothing_moves_under_the_pointer(page: Page, console: Console) -> None:
    await live(page)
    first = await page.locator("tbody tr").first.get_attribute("data-key")
    await page.locator("tbody tr").first.hover()
    job_id = await stored(console)
    await expect(page.get_by_role("button", name="1 new")).to_be_visible()
    await expect(page.locator("tbody tr").first).to_have_attribute("data-key", first or "")
    await page.get_by_role("button", name="1 new").click()
    await expect(page.locator("tbody tr").first).to_have_attribute("data-key", job_id)
    await expect(page.get_by_role("button", name="1 new")).to_be_hidden()


async def test_rows_go_on_moving_once_the_pointer_has_left(page: Page, console: Console) -> None:
    await live(page)
    await page.locator("tbody tr").first.hover()
    job_id = await stored(console)
    await expect(page.get_by_role("button", name="1 new")).to_be_visible()
    await page.locator("h1").hover()
    await expect(page.locator("tbody tr").first).to_have_attribute("data-key", job_id)


async def test_a_state_is_chosen_by_its_chip_and_stays_in_the_address(page: Page) -> None:
    await live(page)
    await page.get_by_role("button", name="failed", exact=True).click()
    await expect(page).to_have_url(re.compile(r"\?status=failed$"))
    await expect(page.locator("tbody .badge", has_text="completed")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_role("button", name="failed", exact=True)).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("tbody tr").first).to_contain_text("failed")
    await page.get_by_role("button", name="Clear filters").click()
    await expect(page).to_have_url(re.compile(r"/$"))
    await expect(page.locator("tbody .badge", has_text="completed").first).to_be_visible()


async def test_history_is_paged_and_new_jobs_stay_out_of_it(page: Page, console: Console) -> None:
    await live(page)
    shown = await page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.key)")
    await page.get_by_role("button", name="Older").click()
    await expect(page).to_have_url(re.compile("cursor="))
    await expect(page.get_by_role("button", name="Newest")).to_be_visible()
    older = await page.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.key)")
    assert older
    assert not set(shown) & set(older)
    await page.get_by_role("button", name="Newest").click()
    await expect(page.locator("tbody tr").first).to_have_attribute("data-key", shown[0])


async def test_a_hidden_tab_holds_no_stream_and_catches_up_afterwards(page: Page, console: Console) -> None:
    before = len(console.served.runtime.feed._all())
    await live(page)
    await page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".stream")).to_have_text("Paused")
    while len(console.served.runtime.feed._all()) > before:
        await asyncio.sleep(0.02)
    job_id = await stored(console)
    await page.evaluate("delete document.hidden")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(row(page, job_id)).to_be_visible()


async def test_the_keyboard_suffices(page: Page, console: Console) -> None:
    await live(page)
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.press("k")
    opened = await page.evaluate("document.activeElement.dataset.key")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(opened))
    await page.keyboard.press("g")
    await page.keyboard.press("j")
    await expect(page).to_have_url(f"{console.url}/")
    await expect(page.get_by_role("searchbox")).to_be_visible()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.press("j")
    await expect(page.get_by_role("searchbox")).to_have_value("j")
    await page.get_by_role("searchbox").blur()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


async def test_many_changes_make_few_requests(page: Page, console: Console) -> None:
    await live(page)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/v1/jobs?" in one.url else None)
    query = """
        UPDATE job_results SET progress = jsonb_build_object('progress', %(step)s::int), error = %(step)s::text
        WHERE id IN (SELECT id FROM job_results WHERE status = 'running')
    """
    job_id = ""
    for step in range(30):
        job_id = await stored(console, status="pending")
        await console.execute(query, step=step)
    await expect(row(page, job_id)).to_be_visible()
    assert len(asked) <= 10, "requests follow the time, not the changes"


async def test_jobs_are_found_by_server_user_and_error(page: Page, console: Console) -> None:
    await live(page)
    await page.get_by_label("Server", exact=True).fill("weather")
    await page.get_by_label("User", exact=True).fill("ann")
    await expect(page).to_have_url(re.compile("server=weather.*user=ann"))
    await expect(row(page, console.ids["image"])).to_be_visible()
    await expect(page.locator("tbody .col-server", has_text="files")).to_have_count(0)
    await page.get_by_role("button", name="Clear filters").click()
    await page.get_by_role("searchbox").fill("upstream-unavailable")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(row(page, console.ids["failed"])).to_be_visible()


async def test_nothing_found_says_what_to_do(page: Page) -> None:
    await page.goto("/?status=cancelled&lane=direct")
    await expect(page.get_by_text("No job fits these filters")).to_be_visible()
    await page.get_by_role("link", name="Show all jobs").click()
    await expect(page.locator("tbody tr").first).to_be_visible()
