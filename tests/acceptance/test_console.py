"""The console on a whole hub, as a person uses it, from the one-time link to a new user's first look.

NEXUS_TEST_PICTURES names a directory that gets the pictures of README and docs: the console, a job, its run in Prefect.
"""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.fixtures.console import listen_to, open_page
from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import own_command

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]
SERVERS = ("weather", "reports", "rooms")
WAIT_MS = 30_000
SIZE = {"width": 1280, "height": 800}


async def test_a_person_does_all_that_the_console_is_for(spare_hub: Hub, chromium: Browser) -> None:
    async with open_page(chromium, spare_hub.url, None, viewport=SIZE) as page:
        page.set_default_timeout(WAIT_MS)
        noise = listen_to(page)
        await log_in_by_link(page, spare_hub)
        await paste_servers(page)
        await sync_tools(page)
        await run_to_its_picture(page)
        await cancel_a_long_one(page)
        await see_why_one_failed(page)
        await rotate_keys(page, spare_hub)
        token = await add_user(page)
        assert not noise, noise
    await look_as_the_user(chromium, spare_hub, token)
    if "NEXUS_TEST_PICTURES" in os.environ:
        await make_pictures(chromium, spare_hub, token, Path(os.environ["NEXUS_TEST_PICTURES"]))


async def log_in_by_link(page: Page, hub: Hub) -> None:
    made = hub.run("console", "--json")
    assert made.code == 0, made.err
    await page.goto(made.json()["url"])
    await page.get_by_role("heading", name="Jobs", level=1).wait_for()
    assert "#" not in page.url
    async with open_page(page.context.browser or pytest.fail("no browser"), hub.url, None) as second:
        await second.goto(made.json()["url"])
        await second.get_by_role("alert").wait_for()  # it was good once


async def paste_servers(page: Page) -> None:
    await page.get_by_role("link", name="Servers").click()
    await page.get_by_role("button", name="Paste mcp.json").first.click()
    commands = {name: own_command("gallery", name) for name in SERVERS}
    entries = {name: {"command": command[0], "args": command[1:]} for name, command in commands.items()}
    await page.get_by_label("Text of the file").fill(json.dumps({"mcpServers": entries}))
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_role("button", name="Add 3 servers").click()
    await expect(page.get_by_text("added", exact=True)).to_have_count(3)
    await page.get_by_role("button", name="Close").click()


async def sync_tools(page: Page) -> None:
    await page.get_by_role("button", name="Sync tools of weather").click()
    await expect(page.locator("main")).to_contain_text("2 tools")


async def run_tool(page: Page, name: str) -> Locator:
    """Open a tool's page; the panel that runs it."""
    await page.goto(f"/tools/{name}")
    panel = page.locator(".tool-run")
    await panel.wait_for()
    return panel


async def open_job(page: Page, panel: Locator) -> None:
    """Run a tool, and go to the page of its job."""
    await panel.get_by_role("button", name="Run").click()
    await panel.get_by_role("link", name=re.compile("job")).click()
    await page.wait_for_url("**/jobs/*")


async def run_to_its_picture(page: Page) -> None:
    panel = await run_tool(page, "weather__draw_chart")
    await panel.get_by_label("city", exact=False).first.fill("Berlin")
    await open_job(page, panel)
    await state(page, "completed")
    await page.get_by_role("button", name="Show result").click()
    picture = page.locator("main img")
    await picture.wait_for()
    assert await picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 480


async def cancel_a_long_one(page: Page) -> None:
    panel = await run_tool(page, "reports__build_report")
    await panel.get_by_label("seconds", exact=False).first.fill("300")
    await open_job(page, panel)
    await state(page, "running")
    await expect(page.locator("main")).to_contain_text("chapter 1: sales")
    await page.get_by_role("button", name="Cancel job").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    await state(page, "cancelled")


async def see_why_one_failed(page: Page) -> None:
    panel = await run_tool(page, "rooms__book_room")
    await panel.get_by_label("room", exact=False).first.select_option("Blue")
    await panel.get_by_label("from", exact=False).first.fill("10:00")
    await panel.get_by_label("to", exact=False).first.fill("11:00")
    await open_job(page, panel)
    await state(page, "failed")
    await expect(page.locator("main")).to_contain_text("The room Blue is taken from 10:00 until 11:00.")


async def rotate_keys(page: Page, hub: Hub) -> None:
    assert hub.run("vault", "keygen", "--add").code == 0
    await page.get_by_role("link", name="Keys").click()
    chosen = await page.get_by_label("To the key").input_value()
    await page.get_by_role("button", name="Rotate keys").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    await expect(page.locator("main tbody tr", has_text="primary")).to_contain_text(chosen, timeout=WAIT_MS)
    await expect(page.locator("main")).to_contain_text(re.compile(r"[1-9]\d* values? sealed anew in"), timeout=WAIT_MS)


async def add_user(page: Page) -> str:
    await page.get_by_role("link", name="Users").click()
    await page.get_by_label("Name").fill("ada")
    await page.get_by_role("button", name="Add user").click()
    token = await page.get_by_label("Token", exact=True).inner_text()
    await page.get_by_role("button", name="I have it").click()
    await expect(page.locator("main tbody tr", has_text="ada")).to_contain_text("1")
    assert token not in await page.content()
    return token


async def look_as_the_user(chromium: Browser, hub: Hub, token: str) -> None:
    async with open_page(chromium, hub.url, None) as page:
        noise = listen_to(page)
        await page.goto("/login")
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("heading", name="Jobs", level=1).wait_for()
        places = page.get_by_role("navigation").get_by_role("link")
        names = ["Jobs", "Approvals", "Tools", "Bundles", "Servers", "Changes", "Health"]
        await expect(places).to_contain_text(names)
        await expect(places).to_have_count(len(names))
        await expect(page.locator("main tbody tr")).to_have_count(0)
        assert not noise, noise


async def state(page: Page, name: str) -> None:
    """Wait until the page of a job shows this state."""
    await page.locator("main .badge", has_text=name).first.wait_for()


async def make_pictures(chromium: Browser, hub: Hub, token: str, directory: Path) -> None:
    """Let a day's work pass, and make the pictures in both schemes."""
    forecast = {"name": "weather__draw_chart", "arguments": {"city": "Berlin"}}
    cities, quarters = ("Rome", "Oslo", "Lima", "Pune"), ("2026-Q1", "2026-Q2", "2026-Q3")
    jobs: list[dict[str, Any]] = [{"name": "weather__get_forecast", "arguments": {"city": city}} for city in cities]
    jobs += [{"name": "reports__build_report", "arguments": {"seconds": 1, "quarter": one}} for one in quarters]
    shown = hub.called(forecast)
    refused = {"name": "rooms__book_room", "arguments": {"room": "Blue", "from": "10:00", "to": "11:00"}}
    for number, job in enumerate((*jobs, refused, *jobs)):
        hub.called(job, token if number % 3 else None)
    alone = hub.called({"name": "reports__build_report", "arguments": {"seconds": 3}})
    for job in jobs[-3:]:
        hub.submit(job | {"arguments": {"seconds": 60, "quarter": "2026-Q4"}})
    await asyncio.sleep(4)
    for scheme in ("light", "dark"):
        async with open_page(chromium, hub.url, hub.key, viewport=SIZE, color_scheme=scheme) as page:
            await page.goto("/jobs")
            await page.locator("main tbody tr").first.wait_for()
            await asyncio.sleep(1)
            await page.screenshot(path=directory / f"console-{scheme}.png")
            await page.goto(f"/jobs/{shown['id']}")
            await page.get_by_role("button", name="Show result").click()
            await page.locator("main img").wait_for()
            await asyncio.sleep(0.5)
            await page.screenshot(path=directory / f"job-{scheme}.png")
        await picture_prefect(chromium, hub, str(alone["flow_run_id"]), scheme, directory / f"prefect-run-{scheme}.png")


async def picture_prefect(chromium: Browser, hub: Hub, flow_run: str, scheme: str, path: Path) -> None:
    """Make a picture of a run as Prefect's own pages show it."""
    user, password = hub.prefect_auth
    base = hub.prefect_url.removesuffix("/api")
    context = await chromium.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        http_credentials={"username": user, "password": password},
    )
    await context.add_init_script(f"localStorage.setItem('color-scheme', '\"{scheme}\"')")
    page = await context.new_page()
    await page.goto(base)
    field = page.locator("input[type=password]")
    await field.wait_for()
    await field.fill(f"{user}:{password}")
    await page.keyboard.press("Enter")
    await field.wait_for(state="detached")
    await page.goto(f"{base}/runs/flow-run/{flow_run}")
    await page.get_by_text("Completed").first.wait_for()
    await asyncio.sleep(2)
    await page.screenshot(path=path)
    await context.close()
