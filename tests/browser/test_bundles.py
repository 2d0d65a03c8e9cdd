"""The console's pages of bundles: what is in one, and the editor that puts it together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.fixtures.console import Console
from tests.fixtures.console_rows import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORECAST = {"kind": "tool", "server": "weather", "source": "forecast"}
METRIC = FORECAST | {"name": "metric", "description": "The next days, in metric units.", "fixed": {"units": "metric"}}


@asynccontextmanager
async def bundle(console: Console, name: str, *entries: dict[str, Any], **words: Any) -> AsyncIterator[None]:
    """A bundle that is removed afterwards."""
    async with console.served.client() as api:
        await api.request("POST", "/v1/bundles", {"name": name, "entries": [*entries]} | words)
        try:
            yield
        finally:
            await api.request("DELETE", f"/v1/bundles/{name}")


async def entries_of(console: Console, name: str) -> list[dict[str, Any]]:
    """What is stored of a bundle's entries, without ids and states."""
    async with console.served.client() as api:
        found = await api.request("GET", f"/v1/bundles/{name}")
    return [{key: value for key, value in one.items() if key not in {"id", "state"}} for one in found["entries"]]


def entry(page: Page, text: str) -> Any:
    """The place of an entry in the editor."""
    return page.locator(".entry").filter(has_text=text)


async def test_one_puts_a_bundle_together(console: Console) -> None:
    async with console.opened() as page:
        await page.goto("/bundles")
        await page.get_by_label("Name", exact=True).fill("trips")
        await page.get_by_role("button", name="Make a bundle").click()
        await expect(page.get_by_role("heading", name="0 entries")).to_be_visible()
        await page.get_by_label("Title", exact=True).fill("Planning of trips")
        await page.get_by_label("What a client is told").fill("Weather first.")
        await page.get_by_label("Access").select_option("closed")
        await page.get_by_label("Server").select_option("weather")
        await page.get_by_role("button", name="Add forecast").click()
        forecast = entry(page, "tool forecast of weather")
        await forecast.locator("summary").click()
        await forecast.get_by_label("Name in the bundle").fill("outlook")
        await forecast.get_by_label("Description").fill("The weather of the next days.")
        await forecast.get_by_label("Argument units").select_option("fixed")
        await forecast.locator(".argument-value select").select_option("metric")
        await forecast.get_by_label("Argument hours").select_option("hidden")
        await expect(forecast.locator("summary")).to_contain_text("renamed")
        await expect(forecast.locator("summary")).to_contain_text("1 fixed")
        await page.get_by_label("Server").select_option("files")
        await page.get_by_role("button", name="Add all tools of files").click()
        await page.get_by_role("button", name="Save bundle").click()
        await expect(page.get_by_role("heading", name="Planning of trips", level=1)).to_be_visible()
        made = page.get_by_role("table", name="Entries")
        await expect(made.get_by_role("row").filter(has_text="outlook")).to_contain_text("1 hidden")
        await expect(made.get_by_role("row").filter(has_text="all of files")).to_contain_text("there")
        words: dict[str, Any] = {"name": None, "title": None, "description": None, "fixed": {}, "hidden": []}
        assert await entries_of(console, "trips") == [
            words
            | FORECAST
            | {"name": "outlook", "description": "The weather of the next days."}
            | {"fixed": {"units": "metric"}, "hidden": ["hours"]},
            words | {"kind": "tool", "server": "files", "source": "*"},
        ]
        await page.get_by_role("button", name="Remove", exact=True).click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(page.get_by_text("No bundles yet")).to_be_visible()


async def test_the_editor_opens_by_its_button_without_a_word_of_an_error(console: Console) -> None:
    async with bundle(console, "opened", FORECAST), console.opened() as page:
        await page.goto("/bundles/opened")
        await page.get_by_role("button", name="Edit").click()
        await expect(page.get_by_role("button", name="Save bundle")).to_be_visible()
        await expect(page.locator(".toast")).to_have_count(0)


async def test_what_is_stored_stays_as_it_is(console: Console) -> None:
    odd = {"kind": "tool", "server": "weather", "source": "gone", "fixed": {"n": 12345678901234567890}, "hidden": ["x"]}
    async with bundle(console, "kept", METRIC, odd), console.opened() as page:
        before = await entries_of(console, "kept")
        await page.goto("/bundles/kept?edit=1")
        await expect(page.locator(".entry")).to_have_count(2)
        for summary in await page.locator(".entry summary").all():
            await summary.click()
        await expect(entry(page, "tool gone of weather")).to_contain_text("Its server does not offer it now")
        await expect(page.locator(".argument-value textarea")).to_have_value("12345678901234567890")
        await page.get_by_role("button", name="Save bundle").click()
        await expect(page.get_by_role("table", name="Entries")).to_contain_text("not offered now")
        assert await entries_of(console, "kept") == before


async def test_what_does_not_fit_is_said_and_nothing_is_stored(console: Console) -> None:
    async with bundle(console, "clash", METRIC), console.opened(expected="400") as page:
        await page.goto("/bundles/clash?edit=1")
        await page.get_by_label("Server").select_option("weather")
        await page.get_by_role("button", name="Add radar").click()
        radar = entry(page, "tool radar of weather")
        await radar.locator("summary").click()
        await radar.get_by_label("Argument days").select_option("fixed")
        await radar.locator(".argument-value input").fill("99")
        await page.get_by_role("button", name="Save bundle").click()
        await expect(radar.locator(".form-fault:visible")).to_have_text("must be at most 14")
        await radar.locator(".argument-value input").fill("9")
        await radar.get_by_label("Name in the bundle").fill("metric")
        await page.get_by_role("button", name="Save bundle").click()
        await expect(page.get_by_role("alert")).to_contain_text("the tool 'metric' is there already")
        assert len(await entries_of(console, "clash")) == 1
        await page.get_by_role("button", name="Take out metric").click()
        await expect(page.get_by_role("heading", name="1 entry")).to_be_visible()


async def test_a_needed_argument_that_is_hidden_is_warned_of(console: Console) -> None:
    async with bundle(console, "warned", FORECAST), console.opened() as page:
        await page.goto("/bundles/warned?edit=1")
        await page.locator(".entry summary").click()
        await page.get_by_label("Argument city").select_option("hidden")
        await expect(page.get_by_text("Calls need it, so each would be refused")).to_be_visible()
        await page.get_by_label("Argument hours").select_option("hidden")
        await expect(page.get_by_text("Calls need it, so each would be refused")).to_have_count(1)


async def test_a_user_sees_what_a_bundle_offers_and_not_what_it_is_made_of(console: Console) -> None:
    async with (
        bundle(console, "open-one", METRIC, title="For all"),
        bundle(console, "closed-one", METRIC, access="closed"),
        console.opened(console.ids["ann-token"], expected="404") as page,
    ):
        await page.goto("/bundles")
        await expect(page.get_by_role("link", name="open-one")).to_be_visible()
        await expect(page.get_by_role("link", name="closed-one")).to_have_count(0)
        await expect(page.get_by_role("button", name="Make a bundle")).to_have_count(0)
        await page.get_by_role("link", name="open-one").click()
        await expect(page.get_by_role("heading", name="For all", level=1)).to_be_visible()
        await expect(page.get_by_label("Address", exact=True)).to_have_text(f"{console.url}/mcp/open-one")
        tools = page.get_by_role("table", name="Tools")
        await expect(tools.get_by_role("row").filter(has_text="metric")).to_contain_text("in metric units")
        await expect(page.get_by_role("table", name="Entries")).to_have_count(0)
        await expect(page.get_by_role("button", name="Edit")).to_have_count(0)
        await page.goto("/bundles/closed-one")
        await expect(page.get_by_role("alert")).to_contain_text("closed-one")


async def test_hostile_words_of_a_bundle_stay_text(console: Console) -> None:
    said = FORECAST | {"title": HOSTILE, "description": HOSTILE, "fixed": {HOSTILE: HOSTILE}, "hidden": [HOSTILE * 2]}
    async with bundle(console, "odd", said, title=HOSTILE, instructions=HOSTILE), console.opened() as page:
        for path in ("/bundles", "/bundles/odd", "/bundles/odd?edit=1"):
            await page.goto(path)
            await page.locator("main h1").wait_for()
            for summary in await page.locator(".entry summary").all():
                await summary.click()
                await page.locator(".arguments").wait_for()
            assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
            assert "\u202e" not in await page.evaluate("document.querySelector('main').textContent")
