"""All pages of the console in light, in dark and at 360 px: by axe-core, by the keyboard alone, and without motion.

NEXUS_TEST_PICTURES names a directory that gets a picture of each page in each view.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error, Page, expect

from tests.fixtures.axe import ALL_RULES, is_wider_than_window, require_axe, violations
from tests.fixtures.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 800}},
}
EXAMINED = ("dark", "narrow")
"""Both schemes and both widths."""
PAGES = {
    "jobs": ("/jobs", "main tbody tr"),
    "jobs-none": ("/jobs?search=nothing-like-this", "main .empty:visible"),
    "job": ("/jobs/{image}", "main .badge"),
    "job-running": ("/jobs/{running}", "main .badge"),
    "job-failed": ("/jobs/{failed}", "main .badge"),
    "servers": ("/servers", "main .badge"),
    "server": ("/servers/system/{weather}", "main .badge"),
    "tools": ("/tools", "main a[href^='/tools/']"),
    "tool": ("/tools/weather__forecast", "main form"),
    "approvals": ("/approvals", "main .table-place"),
    "bundles": ("/bundles", "main form"),
    "changes": ("/changes", "main .empty"),
    "access": ("/access", "main tbody tr"),
    "group": ("/access/everyone", "main form"),
    "keys": ("/keys", "main tbody tr"),
    "users": ("/users", "main tbody tr"),
    "user": ("/users/ann", "main tbody tr"),
    "account": ("/account", "main .table-place"),
    "health": ("/health", "main .chart"),
    "audit": ("/audit", "main tbody tr"),
}
"""Each page's address, and what stands there once it is shown."""
REFUSED = {
    "job": "/jobs/19082724-3990-41bb-b958-4fe41e482403",
    "server": "/servers/system/19082724-3990-41bb-b958-4fe41e482403",
    "approval": "/approvals/19082724-3990-41bb-b958-4fe41e482403",
    "bundle": "/bundles/nothing",
    "group": "/access/nobody",
    "tool": "/tools/weather__nothing",
    "kind of server": "/servers/nowhere/x",
}
RING = """
    () => {
      const one = document.activeElement;
      if (!one || one === document.body) return null;
      const style = getComputedStyle(one);
      const ring = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
      const box = one.getBoundingClientRect();
      return {name: one.outerHTML.slice(0, 160), ring, shown: box.width > 0 && box.height > 0};
    }
"""
MOTION = "() => document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 20).length"


async def shown(page: Page, console: Console, name: str) -> None:
    """Open a page and wait until it stands."""
    path, sign = PAGES[name]
    await page.goto(path.format(**console.ids))
    await page.locator("main h1").wait_for()
    await page.locator(sign).first.wait_for()


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_there_is_said_with_what_to_do(console: Console, name: str) -> None:
    axe = require_axe()
    async with console.opened(expected="Failed to load resource", bypass_csp=True) as page:
        await page.goto(REFUSED[name])
        await page.locator("main h1").wait_for()
        await page.locator("main").locator("button, a").first.wait_for()
        assert not await violations(page, axe, ALL_RULES)


@pytest.mark.parametrize("view", EXAMINED)
async def test_no_page_breaks_a_rule_of_axe_or_is_wider_than_the_window(console: Console, view: str) -> None:
    axe, found = require_axe(), []
    async with console.opened(bypass_csp=True, **VIEWS[view]) as page:  # by which axe would be bound, too
        for name in PAGES:
            try:
                await shown(page, console, name)
            except Error:
                found.append(f"{name}: is not shown")
            found += [f"{name}: {line}" for line in await violations(page, axe, ALL_RULES)]
            if await is_wider_than_window(page):
                found.append(f"{name}: is wider than the window")
    assert not found, "\n".join(found)


async def test_the_log_in_page_breaks_no_rule_of_axe(console: Console) -> None:
    axe = require_axe()
    async with console.opened(None, bypass_csp=True) as page:
        await page.goto("/login")
        await page.get_by_label("Token").wait_for()
        assert not await violations(page, axe, ALL_RULES)


async def test_keys_lead_to_every_page_and_into_a_job(page: Page, console: Console) -> None:
    await shown(page, console, "jobs")
    for key, title in [
        ("p", "Approvals"),
        ("t", "Tools"),
        ("b", "Bundles"),
        ("s", "Servers"),
        ("c", "Changes"),
        ("r", "Access"),
        ("h", "Health"),
        ("k", "Keys"),
        ("u", "Users"),
        ("a", "Audit"),
    ]:
        await page.keyboard.press("g")
        await page.keyboard.press(key)
        await page.locator("main h1", has_text=title).wait_for()
    await page.keyboard.press("?")
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.press("Escape")
    await page.get_by_role("dialog").wait_for(state="detached")
    await page.keyboard.press("g")
    await page.keyboard.press("j")
    await page.locator("main tbody tr").first.wait_for()
    await page.keyboard.press("/")
    assert await page.evaluate("() => document.activeElement.type") == "search"
    await page.keyboard.press("Tab")
    await page.locator("main").press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs/*")


async def test_places_stand_behind_a_button_where_it_is_narrow(console: Console) -> None:
    async with console.opened(viewport={"width": 360, "height": 800}) as page:
        await shown(page, console, "tools")
        bundles, pages = (
            page.get_by_role("link", name="Bundles"),
            page.get_by_role("button", name="Pages; this is Tools"),
        )
        await expect(bundles).to_be_hidden()
        await pages.press("Enter")
        await expect(page.get_by_role("list", name="Catalog").get_by_role("listitem")).to_have_count(4)
        await page.keyboard.press("Escape")
        await expect(bundles).to_be_hidden()
        await expect(pages).to_be_focused()
        await pages.click()
        await bundles.click()
        await expect(page.get_by_role("heading", name="Bundles", level=1)).to_be_visible()
        await expect(bundles).to_be_hidden()


@pytest.mark.parametrize("name", ["jobs", "tool", "users", "audit", "group", "approvals"])
async def test_what_has_the_focus_is_seen(page: Page, console: Console, name: str) -> None:
    await shown(page, console, name)
    stops = []
    for _ in range(25):
        await page.keyboard.press("Tab")
        if stop := await page.evaluate(RING):  # else it is the browser's turn, or the end of the page
            stops.append(stop)
    assert len({stop["name"] for stop in stops}) > 8, "the keyboard is caught in a part of the page"
    assert not [stop["name"] for stop in stops if not stop["ring"] or not stop["shown"]]


async def test_nothing_moves_for_who_wants_no_motion(console: Console) -> None:
    async with console.opened(reduced_motion="reduce") as page:
        for name in ("jobs", "job-running", "keys"):
            await shown(page, console, name)
            assert await page.evaluate(MOTION) == 0


@pytest.mark.skipif("NEXUS_TEST_PICTURES" not in os.environ, reason="nobody asked for pictures: NEXUS_TEST_PICTURES")
@pytest.mark.parametrize("view", VIEWS)
async def test_pictures_of_all_pages_are_made(console: Console, view: str) -> None:
    directory = Path(os.environ["NEXUS_TEST_PICTURES"])
    async with console.opened(**VIEWS[view]) as page:
        for name in PAGES:
            await shown(page, console, name)
            await asyncio.sleep(0.5)  # for what comes after the first look: images, events
            await page.screenshot(path=directory / f"{name}-{view}.png", full_page=True)
