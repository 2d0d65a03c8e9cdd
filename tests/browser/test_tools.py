"""The console's pages of tools: the search, what a tool says of itself, and the form that runs it."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Page, expect

from nexus_hub.errors import ApiProblem, RefreshRunning
from tests.fixtures.console import Console
from tests.fixtures.console_rows import HOSTILE
from tests.fixtures.console_servers import stored
from tests.fixtures.hostile import HOSTILE as TEXTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORECAST = "/tools/weather__forecast"


async def json_of(page: Page) -> Any:
    return json.loads(await page.get_by_label("The same as JSON").input_value())


async def until_read(console: Console, page_url: str) -> None:
    """Wait until nobody reads the server's catalog: it says that its lists have changed as soon as it is there."""
    async with console.served.client() as api, asyncio.timeout(60):
        while True:
            try:
                await api.request("POST", page_url.replace(console.url, "/v1") + "/sync")
                return
            except ApiProblem as problem:
                if problem.code != RefreshRunning.code:
                    raise
            await asyncio.sleep(0.2)


async def test_the_search_is_that_of_agents(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/tools")
        await expect(page.get_by_role("link", name="files__archive")).to_be_visible()
        async with page.expect_response("**/v1/tools?query=*") as answered:
            await page.get_by_label("Search").fill("rain picture")
        order = [one["name"] for one in (await (await answered.value).json())["items"]]
        assert order[0] == "weather__radar"
        await expect(page.locator("tbody a[data-open]")).to_have_text(order)
        await expect(page).to_have_url(f"{console.url}/tools?query=rain+picture")
        await page.get_by_label("Search").fill("qqxzv")
        await expect(page.get_by_text("No tool speaks of that")).to_be_visible()
        await page.get_by_label("Search").fill("")
        await page.get_by_label("Server").select_option("files")
        await expect(page.locator("tbody a[data-open]")).to_have_count(3)
        await page.reload()
        await expect(page.locator("tbody a[data-open]")).to_have_count(3)


async def test_a_form_runs_a_tool_and_follows_its_job(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/tools")
        await page.get_by_role("link", name="weather__forecast").click()
        await expect(page.get_by_text("Weather of the next days")).to_be_visible()
        assert await json_of(page) == {"days": 3, "units": "metric"}
        await page.get_by_label("city").fill("Zürich")
        await page.get_by_role("button", name="Add: place").click()
        await page.get_by_label("lat").fill("47.3769")
        await page.get_by_label("lon").fill("8.50")
        await page.get_by_label("Time-out").select_option("60")
        async with page.expect_response("**/v1/jobs") as answered:
            await page.get_by_role("button", name="Run", exact=True).click()
        job_id = UUID((await (await answered.value).json())["id"])
        job = page.get_by_role("region", name="The job")
        await expect(job).to_contain_text("Waits")
        async with console.served.client() as api:
            row = await api.request("GET", f"/v1/jobs/{job_id}")
        place = {"lat": 47.3769, "lon": 8.5}
        assert row["params"] == {"city": "Zürich", "days": 3, "units": "metric", "place": place}
        assert (row["timeout_seconds"], row["status"]) == (60, "pending")
        [[stored]] = await console.execute("SELECT params::text FROM job_results WHERE id = %(id)s", id=job_id)
        assert '"lon":8.50' in stored.replace(" ", "")
        attempt = await console.served.claimed(job_id)
        await expect(job).to_contain_text("Running")
        await console.served.completed(attempt)
        await expect(job).to_contain_text("done")
        await expect(job.get_by_role("button", name="Cancel job")).to_be_hidden()
        await job.get_by_role("link", name="Open the job").click()
        await expect(page).to_have_url(f"{console.url}/jobs/{job_id}")


async def test_json_and_form_are_the_same(console: Console) -> None:
    async with console.opened() as page:
        await page.goto(FORECAST)
        box = page.get_by_label("The same as JSON")
        await box.fill('{"city": "Bern",\n "days": 5,\n "more": [12345678901234567890]}')
        await expect(page.get_by_label("days")).to_have_value("5")
        await page.get_by_label("days").fill("6")
        text = await box.input_value()
        assert '"more": [\n    12345678901234567890\n  ]' in text
        assert '"days": 6' in text
        await box.fill('{"city": "Bern",\n "days" 5}')
        await expect(page.get_by_text("Line 2, column 9: a colon is expected here.")).to_be_visible()
        await page.get_by_role("button", name="Run", exact=True).click()
        await expect(box).to_be_focused()
        await box.fill('[{"city": "Bern"}]')
        await expect(page.get_by_text("the arguments are an object in braces.")).to_be_visible()
        await box.fill('{"city": "Bern",\n "days": 99}')
        await page.get_by_role("button", name="Run", exact=True).click()
        faults = page.locator(".run-faults")
        await expect(faults).to_contain_text("days must be at most 14 (line 2 of the JSON)")
        await faults.get_by_role("button", name="days").click()
        await expect(page.get_by_label("days")).to_be_focused()


async def test_what_the_hub_refuses_is_shown_at_its_field(console: Console) -> None:
    async with console.opened(expected="422") as page:
        await page.goto(FORECAST)
        await page.get_by_label("The same as JSON").fill('{"days": 99, "place": {"lat": "x", "lon": 2}}')
        await page.get_by_role("button", name="Run", exact=True).click()
        await page.get_by_role("button", name="Send it as it is").click()
        await expect(page.locator(".run-faults")).to_contain_text("The hub refuses the arguments")
        shown = page.locator(".form-field").filter(has=page.locator(".form-fault:visible"))
        await expect(shown).to_contain_text(["city", "days", "lat"])
        await expect(shown.nth(1)).to_contain_text("must satisfy maximum 14")
        await expect(shown.nth(2)).to_contain_text("must be of type number")


async def test_the_last_arguments_stay_in_this_tab_and_nowhere_else(console: Console) -> None:
    async with console.opened() as page:
        await page.goto(FORECAST)
        await page.get_by_label("city").fill("a-secret-city")
        await page.get_by_role("button", name="Run", exact=True).click()
        await page.get_by_role("region", name="The job").wait_for()
        stored = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, history.state])"
        assert "a-secret-city" not in await page.evaluate(stored)
        await page.get_by_role("link", name="Tools", exact=True).click()
        await page.get_by_role("link", name="weather__forecast").click()
        await expect(page.get_by_label("city")).to_have_value("a-secret-city")
        await page.get_by_role("button", name="Start over").click()
        await expect(page.get_by_label("city")).to_have_value("")
        await page.reload()
        await expect(page.get_by_label("city")).to_have_value("")


async def test_annotations_are_plain_words(console: Console) -> None:
    said = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
    tool = {"name": "wipe", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}, "annotations": said}
    async with stored(console, "sharp", [tool]), console.opened() as page:
        await page.goto("/tools?server=")
        await expect(page.get_by_role("row").filter(has_text="sharp__wipe")).to_contain_text("destructive")
        await page.get_by_role("link", name="sharp__wipe").click()
        about = page.locator(".tool-about")
        await expect(about).to_contain_text("A call may delete or overwrite.")
        await expect(about).to_contain_text("The same call twice has its effect twice.")
        await expect(about).to_contain_text("It reaches beyond its server")
        await expect(page.get_by_text("Output schema")).to_be_visible()


async def test_a_hostile_tool_does_no_harm(console: Console) -> None:
    nested: Any = {"type": "object", "properties": {HOSTILE: {"const": HOSTILE}}, "required": [HOSTILE]}
    for _ in range(60):
        nested = {"type": "object", "properties": {"a": nested}, "required": ["a"]}
    names = {
        text: {"type": "string", "description": text, "title": text} for text in [*TEXTS, "__proto__", "x" * 10**6]
    }
    flood = {f"p{number}": {"$ref": "#"} for number in range(10_000)}
    schema = {"type": "object", "properties": names | {"deep": nested} | flood, "required": ["deep"]}
    tool = {"name": "evil", "title": HOSTILE, "description": HOSTILE + "y" * 10**6, "inputSchema": schema}
    tool |= {"annotations": {"title": HOSTILE, "readOnlyHint": HOSTILE}}
    async with stored(console, "evil", [tool]), console.opened() as page:
        await page.goto("/tools/evil__evil")
        await page.get_by_text("Input schema").click()
        await page.get_by_role("button", name="Run", exact=True).click()
        await page.locator(".run-faults").wait_for()
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert await page.evaluate("document.querySelectorAll('main *').length") < 12_000
        assert "\u202e" not in await page.evaluate("document.querySelector('main').textContent")


async def test_a_real_server_is_added_synced_and_called_by_its_form(console: Console, everything_command: str) -> None:
    async with console.opened() as page:
        await page.goto("/servers?add=form")
        await page.get_by_label("Name", exact=True).fill("everything")
        await page.get_by_label("By a command").check()
        await page.get_by_label("Command", exact=True).fill(everything_command)
        await page.get_by_role("button", name="Add server").last.click()
        await expect(page.get_by_role("heading", name="everything", level=1)).to_be_visible()
        await until_read(console, page.url)
        await page.get_by_role("button", name="Sync tools").click()
        await expect(page.locator(".told")).to_contain_text("Nothing changed: it offers")
        await page.get_by_role("link", name="echo", exact=True).click()
        await page.get_by_label("message").fill("hello\nthere")
        async with page.expect_response("**/v1/jobs") as answered:
            await page.get_by_role("button", name="Run", exact=True).click()
        job = await (await answered.value).json()
        assert (job["tool_name"], job["params"]) == ("echo", {"message": "hello\nthere"})
        await expect(page.get_by_role("region", name="The job")).to_contain_text("Waits")
    async with console.served.client() as api:
        await api.request("DELETE", f"/v1/servers/system/{job['server_ref_id']}")
