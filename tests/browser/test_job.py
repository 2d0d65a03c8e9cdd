"""One job: what it was asked, what it gave, and why it failed."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Dialog, Page, expect

from tests.browser.test_jobs import stored
from tests.fixtures.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def show(page: Page, what: str) -> None:
    await page.get_by_role("button", name=f"Show {what}").click()


async def test_arguments_and_result_are_hidden_until_asked_for(page: Page, console: Console) -> None:
    await page.goto(f"/jobs/{console.ids['image']}")
    await expect(page.get_by_role("heading", name="radar")).to_be_visible()
    await expect(page.get_by_text("Tool of weather for ann")).to_be_visible()
    await expect(page.get_by_text("Rain over Zurich")).to_have_count(0)
    await show(page, "arguments")
    await expect(page.get_by_role("region", name="Arguments")).to_contain_text("lat: 47.3769")
    await show(page, "result")
    await expect(page.get_by_text("Rain over Zurich")).to_be_visible()
    await page.get_by_role("button", name="Hide result").click()
    await expect(page.get_by_text("Rain over Zurich")).to_have_count(0)


async def test_pictures_are_shown_and_what_could_run_is_not(page: Page, console: Console) -> None:
    await page.goto(f"/jobs/{console.ids['image']}")
    await show(page, "result")
    picture = page.get_by_role("img", name="Picture of the result, image/png")
    await expect(picture).to_be_visible()
    await expect(picture).to_have_js_property("naturalWidth", 320)
    result = page.get_by_role("region", name="Result")
    await expect(result).to_contain_text("image/svg+xml")
    await expect(result.locator("img")).to_have_count(1)
    await expect(result.locator("a")).to_have_count(1)
    await expect(result.locator("a")).to_have_attribute("rel", "noreferrer noopener")
    await expect(result).to_contain_text("javascript:alert(4)")
    await expect(result).to_contain_text("id: 1152921504606846977")


async def test_a_hostile_result_does_nothing(page: Page, console: Console) -> None:
    dialogs: list[Dialog] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog)

    page.on("dialog", note)
    await page.goto(f"/jobs/{console.ids['hostile']}")
    await show(page, "result")
    await show(page, "arguments")
    result = page.get_by_role("region", name="Result")
    await expect(result).to_contain_text("⟨U+202E⟩gnp.exe⟨U+202C⟩ ⟨ESC⟩[31mred")
    await expect(result.get_by_role("button", name="show more")).to_be_visible()
    assert await page.locator("main script, main img").count() == 0
    assert len(await result.inner_text()) < 20_000, "a megabyte is cut"
    assert not dialogs


async def test_a_failed_job_says_why_and_what_to_do(page: Page, console: Console) -> None:
    await page.goto(f"/jobs/{console.ids['failed']}")
    await expect(
        page.get_by_role("heading", name="The server could not be reached, so the tool did not run.")
    ).to_be_visible()
    await expect(page.get_by_text("test it on its page")).to_be_visible()
    await expect(page.get_by_text("It was tried three times.")).to_be_visible()
    await expect(page.get_by_text("upstream-unavailable", exact=True)).to_be_visible()


async def test_progress_and_end_show_as_they_happen(page: Page, console: Console) -> None:
    job_id = await stored(console, status="running", progress={"progress": 1, "total": 4, "message": "first of four"})
    await page.goto(f"/jobs/{job_id}")
    bar = page.get_by_role("progressbar", name="Progress")
    await expect(bar).to_have_js_property("value", 1)
    await expect(page.get_by_text("first of four")).to_be_visible()
    await show(page, "arguments")
    change = "UPDATE job_results SET progress = %(progress)s WHERE id = %(id)s"
    await console.execute(change, id=job_id, progress=json.dumps({"progress": 3, "total": 4}))
    await expect(bar).to_have_js_property("value", 3)
    end = "SET status = 'completed', result = %(result)s::text::jsonb, result_sent = %(result)s::text::json"
    await console.execute(
        f"UPDATE job_results {end} WHERE id = %(id)s",
        id=job_id,
        result=json.dumps({"content": [{"type": "text", "text": "all four"}]}),
    )
    await expect(page.locator(".job-title .badge")).to_have_text("completed")
    await expect(page.get_by_role("button", name="Cancel job")).to_have_count(0)
    await show(page, "result")
    await expect(page.get_by_text("all four")).to_be_visible()
    await expect(page.get_by_role("button", name="Hide arguments")).to_be_visible()


async def test_a_job_is_cancelled_after_a_question(page: Page, console: Console) -> None:
    job_id = await stored(console, status="pending", flow_run_id=None)
    await page.goto(f"/jobs/{job_id}")
    await page.get_by_role("button", name="Cancel job").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()
    await expect(page.locator(".job-title .badge")).to_have_text("waiting")
    await page.get_by_role("button", name="Cancel job").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    await expect(page.locator(".job-title .badge")).to_have_text("cancelled")
    assert await console.execute("SELECT status FROM job_results WHERE id = %(id)s", id=job_id) == [("cancelled",)]


async def test_a_large_result_is_cut_and_whole_in_its_download(page: Page, console: Console, tmp_path: Path) -> None:
    sent = (
        '{"content": [{"type": "text", "text": "' + "lorem ipsum " * 850_000 + '"}], "structuredContent": {"n": 1.0}}'
    )
    job_id = await stored(console)
    columns = {"id": job_id, "sent": sent}
    await console.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
    await console.execute(
        "UPDATE job_results SET result = %(sent)s::text::jsonb, result_sent = %(sent)s::text::json WHERE id = %(id)s",
        **columns,
    )
    await console.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
    await page.goto(f"/jobs/{job_id}")
    await show(page, "result")
    result = page.get_by_role("region", name="Result")
    await expect(result.get_by_role("button", name="show more (10 MB left)")).to_be_visible()
    await expect(result).to_contain_text("Too long for a tree")
    assert len(await result.inner_text()) < 20_000
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download result").click()
    await (await download.value).save_as(tmp_path / "result.json")
    kept = (tmp_path / "result.json").read_text()
    assert len(kept) == len(sent)
    assert kept == sent


async def test_a_job_that_is_not_there_says_so(console: Console) -> None:
    async with console.opened(expected="404") as page:
        await page.goto("/jobs/00000000-0000-4000-8000-000000000000")
        await expect(page.get_by_role("heading", name="There is no such job")).to_be_visible()
        await page.get_by_role("link", name="All jobs").click()
        await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


async def test_a_job_is_run_again_with_the_same_arguments(page: Page, console: Console) -> None:
    job_id = await stored(console, tool_name="search", params={"city": "Bern", "days": 2})
    await page.goto(f"/jobs/{job_id}")
    await page.get_by_role("button", name="Run again").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run again").click()
    await expect(page.locator(".job-title .badge")).to_have_text("waiting")
    assert job_id not in page.url
    await show(page, "arguments")
    await expect(page.get_by_role("region", name="Arguments")).to_contain_text("Bern")


async def test_the_steps_of_a_job_are_told(page: Page, console: Console) -> None:
    await page.goto(f"/jobs/{console.ids['failed']}")
    steps = page.locator(".timeline li")
    await expect(steps.first).to_contain_text("Stored")
    await expect(steps.last).to_contain_text("failed: upstream-unavailable")
    await expect(page.get_by_role("link", name="Run in Prefect")).to_have_attribute("rel", "noreferrer noopener")
