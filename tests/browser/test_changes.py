"""The console's pages of changes and switches: what is held of a server with pins, and what is on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect

from nexus_hub.models import ServerRef
from tests.fixtures.console import Console
from tests.fixtures.console_rows import HOSTILE
from tests.fixtures.console_servers import stored
from tests.fixtures.scripted import PLAIN, over_stdio

pytestmark = pytest.mark.asyncio(loop_scope="session")

PACK = {"name": "pack", "description": "Pack a folder.", "inputSchema": {"type": "object"}}
KEPT = {"name": "kept", "description": "Stays as it is.", "inputSchema": {"type": "object"}}
SENT = PACK | {"description": "Pack a folder, and send it away."}
WIPE = {"name": "wipe", "description": "Delete a folder.", "inputSchema": {"type": "object"}}


@asynccontextmanager
async def pinned(console: Console, name: str, before: list[Any], now: list[Any]) -> AsyncIterator[ServerRef]:
    """A server with pins that offers something else than was approved, and was read since."""
    config = over_stdio(PLAIN | {"method": "tools/list", "edits": [[[2, 0], now]]})
    async with stored(console, name, before, config=config) as ref, console.served.client() as api:
        await api.request("PATCH", f"/v1/servers/{ref}", {"pin": True})
        await api.request("POST", f"/v1/servers/{ref}/sync")
        yield ref


async def offered(console: Console, name: str) -> list[str]:
    """The names of the tools of a server that are offered."""
    async with console.served.client() as api:
        found = await api.request("GET", "/v1/tools", server=name)
    return [one["tool_name"] for one in found["items"]]


def change(page: Page, name: str) -> Any:
    """The place of a tool's change."""
    return page.locator(".change").filter(has=page.get_by_role("heading", name=name))


async def test_what_is_held_is_shown_word_by_word_and_approved(console: Console) -> None:
    async with pinned(console, "packer", [PACK, KEPT], [SENT, KEPT, WIPE]), console.opened() as page:
        assert await offered(console, "packer") == ["kept"]
        await page.goto("/jobs")
        await page.get_by_role("link", name="Changes waiting").click()
        pack, wipe = change(page, "pack"), change(page, "wipe")
        await expect(pack).to_contain_text("changed")
        await expect(pack.locator("ins")).to_contain_text(", and send it away")
        await expect(pack.locator("dd").first).to_contain_text("Pack a folder")
        await expect(wipe).to_contain_text("new")
        await pack.get_by_role("button", name="Approve").click()
        await expect(page.get_by_text("pack is approved.")).to_be_visible()
        await expect(pack).to_have_count(0)
        assert await offered(console, "packer") == ["kept", "pack"]
        await page.get_by_label("Show").select_option("all of the last time")
        await expect(change(page, "pack").locator("ins")).to_contain_text(", and send it away")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(1)


async def test_a_servers_page_shows_what_is_held_of_it(console: Console) -> None:
    async with pinned(console, "holder", [PACK, KEPT], [SENT, KEPT, WIPE]) as ref, console.opened() as page:
        await page.goto(f"/servers/{ref}")
        tools = page.get_by_role("table", name="Tools")
        await expect(tools.get_by_role("row").filter(has_text="pack")).to_contain_text("held")
        await expect(tools.get_by_role("link", name="pack")).to_have_count(0)
        await page.get_by_role("button", name="Approve all 2").click()
        await expect(page.get_by_role("heading", name="Held until approved")).to_be_hidden()
        await expect(tools.get_by_role("link", name="pack")).to_be_visible()
        assert await offered(console, "holder") == ["kept", "pack", "wipe"]
        await page.goto("/servers")
        await expect(page.get_by_role("row").filter(has_text="holder")).not_to_contain_text("held")


async def test_a_sync_says_what_it_holds(console: Console) -> None:
    config = over_stdio(PLAIN | {"method": "tools/list", "edits": [[[2, 0], [SENT, KEPT]]]})
    async with stored(console, "syncer", [PACK, KEPT], config=config) as ref, console.opened() as page:
        await page.goto(f"/servers/{ref}")
        await page.get_by_label("Pins: hold each tool").check()
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        await page.get_by_role("button", name="Sync tools").click()
        await expect(page.locator(".told")).to_contain_text("1 changed (syncer__pack): it offers 2 tools")
        await expect(page.locator(".told")).to_contain_text("Held until somebody approves it")
        await expect(page.get_by_role("heading", name="Held until approved")).to_be_visible()


async def test_what_changed_after_it_was_looked_at_is_not_approved(console: Console) -> None:
    async with pinned(console, "turner", [PACK], [SENT]) as ref, console.opened(expected="409") as page:
        await page.goto("/changes?server=turner")
        await expect(change(page, "pack")).to_be_visible()
        worse = json.dumps(PACK | {"description": "Pack a folder, and delete it."})
        await console.execute(
            "UPDATE tool_cache SET definition = %(worse)s WHERE server_ref_id = %(id)s",
            worse=worse,
            id=ref.server_ref_id,
        )
        await change(page, "pack").get_by_role("button", name="Approve").click()
        await expect(page.locator(".toast")).to_contain_text("not any more what was looked at")
        assert await offered(console, "turner") == []


async def test_tools_and_servers_are_switched_off_and_on(console: Console) -> None:
    async with stored(console, "switched", [PACK, KEPT]) as ref, console.opened() as page:
        await page.goto(f"/servers/{ref}")
        switch = page.get_by_role("switch", name="On: pack")
        await switch.uncheck()
        await expect(page.get_by_text("pack is off.")).to_be_visible()
        assert await offered(console, "switched") == ["kept"]
        await page.reload()
        await expect(switch).not_to_be_checked()
        await switch.check()
        await expect(page.get_by_text("pack is on.")).to_be_visible()
        await page.get_by_role("button", name="Switch off").click()
        await page.get_by_role("dialog").get_by_role("button", name="Switch off").click()
        await expect(page.locator(".server-state")).to_contain_text("switched off")
        await expect(page.get_by_role("button", name="Sync tools")).to_have_count(0)
        assert await offered(console, "switched") == []
        await page.get_by_role("button", name="Switch on").click()
        await expect(page.locator(".server-state")).not_to_contain_text("switched off")
        assert await offered(console, "switched") == ["kept", "pack"]


async def test_tags_access_and_time_to_live_are_said_and_found_by(console: Console) -> None:
    async with stored(console, "tagged", [PACK]) as ref, console.opened() as page:
        await page.goto(f"/servers/{ref}")
        await page.get_by_label("Tags").fill("Office, safe")
        await page.get_by_label("Access").select_option("closed")
        await page.get_by_label("Read again after").fill("3600")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".facts")).to_contain_text("office, safe")
        async with console.served.client() as api:
            server = await api.request("GET", f"/v1/servers/{ref}")
        assert (server["tags"], server["access"], server["ttl_seconds"]) == (["office", "safe"], "closed", 3600)
        await page.goto("/tools")
        await page.get_by_label("Tag").select_option("office")
        await expect(page.locator("tbody a[data-open]")).to_have_text(["tagged__pack"])
        await expect(page).to_have_url(f"{console.url}/tools?tag=office")
        async with console.opened(console.ids["ann-token"], expected="404") as hers:
            await hers.goto(f"/servers/{ref}")
            await expect(hers.get_by_role("alert")).to_be_visible()
            await hers.goto("/tools")
            await expect(hers.get_by_label("Tag")).to_be_hidden()


async def test_tools_that_change_nothing_and_those_of_a_bundle_are_found(console: Console) -> None:
    reading = PACK | {"name": "look", "annotations": {"readOnlyHint": True}}
    entry = {"kind": "tool", "server": "finder", "source": "pack", "name": "wrap"}
    async with stored(console, "finder", [PACK, reading]), console.served.client() as api, console.opened() as page:
        await api.request("POST", "/v1/bundles", {"name": "wrapped", "entries": [entry]})
        await page.goto("/tools")
        await page.get_by_label("Server").select_option("finder")
        await page.get_by_label("changes nothing").check()
        await expect(page.locator("tbody a[data-open]")).to_have_text(["finder__look"])
        await page.reload()
        await expect(page.get_by_label("changes nothing")).to_be_checked()
        await page.goto("/tools?bundle=wrapped")
        await expect(page.locator("tbody a[data-open]")).to_have_text(["wrapped__wrap"])
        await page.locator("tbody a[data-open]").click()
        await expect(page.locator(".lead")).to_contain_text("wrapped__wrap of the bundle wrapped")
        await api.request("DELETE", "/v1/bundles/wrapped")


async def test_hostile_changes_stay_text(console: Console) -> None:
    schema = {"type": "object", "properties": {HOSTILE: {"title": HOSTILE}}}
    odd = PACK | {"description": HOSTILE, "inputSchema": schema}
    async with pinned(console, "hostile-pins", [PACK], [odd]), console.opened() as page:
        await page.goto("/changes?server=hostile-pins")
        await expect(change(page, "pack")).to_contain_text("onerror=alert(1)")
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert "\u202e" not in await page.evaluate("document.querySelector('main').textContent")
