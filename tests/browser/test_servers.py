"""The console's pages of servers: what they say, and what can be done there."""

import json
from typing import Any

import pytest
from playwright.async_api import expect

from tests.fixtures.console import Console
from tests.fixtures.console_servers import all_states, stored
from tests.fixtures.scripted import PLAIN, over_stdio
from tests.fixtures.upstreams import own_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "s3cret-of-a-form"
WORDS = {
    "billing": ["not answering", "since 15 min ago", "3 of 3 this minute", "the connection was refused"],
    "calendar": ["being tried", "4 of 5 this minute", "none of the last day"],
    "folders": ["answering", "2 of 100 this minute", "30 a minute for each user", "by npx", "1 tool", "read "],
    "mail": ["catalog not read", "4 tries in a row failed"],
    "new-one": ["never read", "not read yet", "no limit"],
    "off": ["switched off"],
    "wiki": ["answering", "ann"],
}


async def test_servers_say_how_they_are(console: Console) -> None:
    async with all_states(console), console.opened() as page:
        await page.goto("/servers")
        for name, words in WORDS.items():
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
            for word in words:
                await expect(row).to_contain_text(word)
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert "\u202e" not in await page.evaluate("document.querySelector('main').textContent")


async def test_a_server_that_does_not_answer_says_what_to_do(console: Console) -> None:
    async with all_states(console), console.opened() as page:
        await page.goto("/servers")
        await page.get_by_role("link", name="billing", exact=True).click()
        state, errors = page.locator(".server-state"), page.locator(".errors")
        await expect(state).to_contain_text("What to do: Calls are refused at once until the hub tries it again")
        await expect(errors).to_contain_text("It takes too long.")
        await errors.get_by_role("link", name="its job").first.click()
        await expect(page).to_have_url(f"{console.url}/jobs/{console.ids['billing-upstream-unavailable']}")


async def test_one_adds_syncs_tests_and_removes_a_server(console: Console) -> None:
    habits = own_server("habits")
    async with console.opened() as page:
        await page.goto("/servers")
        await page.get_by_role("button", name="Add server").click()
        await page.get_by_label("Name", exact=True).fill("by-form")
        await page.get_by_label("By a command").check()
        await page.get_by_label("Command", exact=True).fill(habits.command)
        await page.get_by_label("Arguments").fill("\n".join(habits.args))
        await page.get_by_role("button", name="Add a variable").click()
        await page.get_by_label("Name of the variable").fill("API_KEY")
        value = page.get_by_label("Value of the variable")
        await value.fill(SECRET)
        assert [await value.get_attribute(name) for name in ("type", "autocomplete")] == ["password", "off"]
        await page.get_by_role("button", name="Show", exact=True).click()
        assert await value.get_attribute("type") == "text"
        await page.get_by_role("button", name="Check only").click()
        await expect(page.get_by_text("Nothing speaks against it.")).to_be_visible()
        await page.get_by_role("button", name="Add server").last.click()
        await expect(page.get_by_role("heading", name="by-form", level=1)).to_be_visible()
        await expect(page.get_by_role("row")).not_to_have_count(0)
        assert SECRET not in await page.content()
        await page.get_by_role("button", name="Sync tools").click()
        await expect(page.get_by_text("Nothing changed: it offers")).to_be_visible()
        await page.get_by_role("button", name="Test", exact=True).click()
        await expect(page.get_by_text("It answers")).to_be_visible()
        await page.get_by_role("button", name="Remove", exact=True).click()
        away = page.get_by_role("dialog").get_by_role("button", name="Remove")
        await page.get_by_role("dialog").get_by_role("textbox").fill("by-for")
        await expect(away).to_be_disabled()
        await page.get_by_role("dialog").get_by_role("textbox").fill("by-form")
        await away.click()
        await expect(page).to_have_url(f"{console.url}/servers")
        await expect(page.get_by_role("link", name="weather", exact=True)).to_be_visible()
        await expect(page.get_by_role("link", name="by-form", exact=True)).to_have_count(0)


async def test_a_refused_server_is_told_at_its_field(console: Console) -> None:
    async with console.opened(expected="422") as page:
        await page.goto("/servers?add=form")
        await page.get_by_label("Name", exact=True).fill("x")
        await page.get_by_label("URL", exact=True).fill("https://x.example/mcp")
        await page.get_by_label("Calls a minute, all together").fill("1.5")
        await page.get_by_role("button", name="Add server").last.click()
        await expect(page.get_by_text("The request does not fit")).to_be_visible()
        await expect(page.get_by_label("Calls a minute, all together")).to_have_attribute("aria-invalid", "true")


async def test_a_server_that_can_not_be_reached_says_why_and_stays_out(console: Console) -> None:
    async with console.opened(expected="502") as page:
        await page.goto("/servers?add=form")
        await page.get_by_label("Name", exact=True).fill("nowhere")
        await page.get_by_label("URL", exact=True).fill("http://127.0.0.1:9/mcp")
        await page.get_by_role("button", name="Add server").last.click()
        await expect(page.locator(".failure")).to_contain_text("nowhere")
        await expect(page.get_by_label("Name", exact=True)).to_have_value("nowhere")


async def test_a_sync_tells_what_changed(console: Console) -> None:
    names = ("kept", "new-one", "other")
    offered = [{"name": name, "description": f"Now {name}", "inputSchema": {"type": "object"}} for name in names]
    known = [offered[0] | {"description": "Before"}, offered[0] | {"name": "gone"}]
    config = over_stdio(PLAIN | {"method": "tools/list", "edits": [[[2, 0], offered]]})
    async with stored(console, "changing", known, config=config), console.opened() as page:
        await page.goto("/servers")
        await page.get_by_role("button", name="Sync tools of changing").click()
        await expect(page.locator(".told")).to_contain_text(
            "2 new (changing__new-one, changing__other), 1 gone (changing__gone), 1 changed (changing__kept):"
            " it offers 3 tools, 0 resources, 0 prompts."
        )


async def test_a_pasted_file_is_shown_before_it_comes(console: Console) -> None:
    habits = own_server("habits")
    good: dict[str, Any] = {"command": habits.command, "args": [*habits.args], "env": {"API_KEY": SECRET}}
    servers = {"pasted": good, "Later on!": good | {"env": {"TOKEN": "${PASTED_TOKEN}"}}}
    servers |= {"off": good | {"disabled": True}}
    async with console.opened() as page:
        await page.goto("/servers")
        await page.get_by_role("button", name="Paste mcp.json").click()
        box, outcomes = page.get_by_label("Text of the file"), page.locator(".outcomes li")
        await box.fill(json.dumps({"mcpServers": servers}))
        await page.get_by_role("button", name="Preview").click()
        disabled = "off switched off in the file"
        await expect(outcomes).to_contain_text(["pasted would be added", "Later-on refused for Later on!", disabled])
        await expect(page.get_by_text("Missing: PASTED_TOKEN.")).to_be_visible()
        await expect(page.get_by_role("link", name="pasted", exact=True)).to_have_count(0)
        value = page.get_by_label("PASTED_TOKEN")
        assert [await value.get_attribute(name) for name in ("type", "autocomplete")] == ["password", "off"]
        await value.fill('t"0ken')
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("button", name="Add 2 servers").click()
        await expect(outcomes).to_contain_text(["pasted added", "Later-on added", disabled])
        await expect(page.get_by_role("link", name="Later-on", exact=True)).to_be_visible()
        assert await box.input_value() == ""
        for secret in (SECRET, "0ken"):
            assert secret not in await page.content()
        await box.fill(json.dumps({"mcpServers": {"pasted": good}}))
        await page.get_by_role("button", name="Preview").click()
        await expect(outcomes).to_contain_text(["pasted already here"])
    async with console.served.client() as api:
        for name in ("pasted", "Later-on"):
            server = await api.request("GET", f"/v1/servers/{name}")
            await api.request("DELETE", f"/v1/servers/system/{server['id']}")


async def test_limits_and_the_word_on_jobs_are_changed(console: Console) -> None:
    async with stored(console, "limited") as ref, console.opened() as page:
        await page.goto(f"/servers/{ref}")
        await page.get_by_label("Calls a minute, all together").fill("60")
        await page.get_by_label("Calls a minute, each user").fill("5")
        await page.get_by_label("Calls of its tools").select_option("always")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".facts")).to_contain_text("0 of 60 this minute")
        await page.get_by_label("Calls of look").select_option("never")
        await expect(page.get_by_text("Saved.")).to_have_count(2)
        await page.reload()
        await expect(page.get_by_label("Calls a minute, each user")).to_have_value("5")
        await expect(page.get_by_label("Calls of its tools")).to_have_value("always")
        await expect(page.get_by_label("Calls of look")).to_have_value("never")
        await page.get_by_label("Calls a minute, all together").fill("")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        async with console.served.client() as api:
            server = await api.request("GET", f"/v1/servers/{ref}")
    assert (server["limit"]["per_minute"], server["limit"]["user_per_minute"]) == (None, 5)


async def test_a_user_changes_only_own_servers(console: Console) -> None:
    async with console.opened(console.ids["ann-token"]) as page:
        await page.goto("/servers")
        await page.get_by_role("link", name="weather", exact=True).click()
        await expect(page.get_by_role("heading", name="weather", level=1)).to_be_visible()
        await expect(page.get_by_role("link", name="forecast", exact=True)).to_be_visible()
        for name in ("Sync tools", "Test", "Remove", "Save"):
            await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


async def test_a_list_without_servers_says_what_to_do(console: Console) -> None:
    async with console.opened() as page:
        nothing: dict[str, Any] = {"items": [], "next_cursor": None}
        await page.route("**/v1/servers?*", lambda route: route.fulfill(json=nothing))
        await page.goto("/servers")
        await expect(page.get_by_text("No servers yet")).to_be_visible()
        await page.locator(".empty").get_by_role("button", name="Paste mcp.json").click()
        await expect(page.get_by_label("Text of the file")).to_be_focused()
