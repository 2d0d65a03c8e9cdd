"""The console's pages of keys, users, health and the audit."""

from itertools import chain, repeat
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.fixtures.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEY = {"is_primary": False, "sealed": 0, "first_used_at": None, "rotated_at": None}
KEYS = [
    KEY | {"key_id": "aaaaaaaa", "is_primary": True, "sealed": 42, "first_used_at": "2026-01-02T03:04:05Z"},
    KEY | {"key_id": "bbbbbbbb"},
]
VAULT = {"keys": KEYS, "missing_keys": [{"key_id": "cccccccc", "rows": 2}], "unbound": 0, "backups": 0}
STARTED = {"state": "running", "done": 0, "total": None, "started_at": "2026-01-02T03:04:05Z", "ended_at": None}
AT_WORK = STARTED | {"done": 21, "total": 42, "errors": []}
ENDED = AT_WORK | {"state": "done", "done": 42, "ended_at": "2026-01-02T03:04:07Z"}
FAILED = ENDED | {"state": "failed", "errors": [f"Server {number}: \u202ecan't be opened" for number in range(30)]}
NONE = {"state": "none", "done": 0, "total": None, "started_at": None, "ended_at": None, "errors": []}


async def play(page: Page, path: str, *answers: Any) -> list[Any]:
    """Answer requests in this order, the last one for ever; the bodies that were sent."""
    sent, coming = list[Any](), chain(answers, repeat(answers[-1]))

    async def fulfill(route: Route) -> None:
        sent.append(route.request.post_data_json)
        await route.fulfill(json=next(coming))

    await page.route(path, fulfill)
    return sent


async def rotating(page: Page, *progress: Any) -> list[Any]:
    """A vault with a new key, and a rotation that gets on like this."""
    await play(page, "**/v1/vault", VAULT)
    await play(page, "**/v1/vault/rotation", *progress)
    return await play(page, "**/v1/vault/rotate", AT_WORK)


async def test_a_rotation_is_asked_for_watched_and_reported(page: Page) -> None:
    sent = await rotating(page, NONE, STARTED | {"errors": []}, AT_WORK, ENDED)
    await page.goto("/keys")
    await expect(page.locator("main")).to_contain_text("There was no rotation yet.")
    await page.get_by_role("button", name="Rotate keys").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("All 42 values are sealed anew under the key bbbbbbbb")
    await dialog.get_by_role("button", name="Rotate").click()
    bar = page.get_by_role("progressbar", name="Values sealed anew")
    await expect(bar).to_have_attribute("max", "42")
    await expect(page.locator("main")).to_contain_text("21 of 42 values")
    await expect(page.locator("main")).to_contain_text("It goes on without this page")
    await expect(page.locator("main")).to_contain_text("42 values sealed anew in 2.00 s")
    assert sent == [{"new_key_id": "bbbbbbbb"}]


async def test_a_rotation_that_nobody_confirms_is_none(page: Page) -> None:
    sent = await rotating(page, NONE)
    await page.goto("/keys")
    await page.get_by_role("button", name="Rotate keys").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert sent == []


async def test_what_could_not_be_sealed_anew_is_said_and_so_is_a_lost_key(page: Page) -> None:
    await rotating(page, FAILED)
    await page.goto("/keys")
    await expect(page.locator(".errors li")).to_have_count(20)
    await expect(page.locator("main")).to_contain_text("and 10 more")
    await expect(page.get_by_role("alert")).to_contain_text("2 values are sealed under cccccccc")


async def test_a_keyring_of_one_key_says_where_another_comes_from(page: Page, console: Console) -> None:
    await page.goto("/keys")
    await expect(page.locator("main")).to_contain_text("nexus-hub vault keygen --add")
    await expect(page.get_by_role("button", name="Rotate keys")).to_have_count(0)


async def test_a_user_is_added_and_gets_a_token_that_is_shown_once_and_revoked(page: Page, console: Console) -> None:
    await page.goto("/users")
    await page.get_by_label("Name").fill("carol")
    await page.get_by_role("button", name="Add user").click()
    token = await page.get_by_label("Token", exact=True).inner_text()
    await page.get_by_text("For an MCP client").click()
    await expect(page.get_by_label("mcp.json", exact=True)).to_contain_text(f"Bearer {token}")
    async with console.opened(token) as hers:
        await hers.goto("/jobs")
        await expect(hers.get_by_role("link", name="Users")).to_have_count(0)
    await page.reload()
    assert token not in await page.content()
    row = page.locator("main tbody tr", has_text="carol")
    await page.get_by_role("button", name="Revoke the tokens of carol").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(row.get_by_role("button", name="Revoke")).to_have_count(0)
    await expect(row.locator("td").nth(1)).to_have_text("0")


async def test_a_name_that_is_taken_is_said_beside_the_form(console: Console) -> None:
    async with console.opened(expected="409") as page:
        await page.goto("/users")
        await page.get_by_label("Name").fill("ann")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("ann")


async def test_health_shows_parts_charts_in_words_and_advice(page: Page) -> None:
    minutes = [{"at": "x", "ended": n, "failed": n % 2, "p50_ms": 100.0 + n, "p95_ms": 900.0} for n in range(60)]
    server = {"server": "srv", "ended": 9, "failed": 4, "p50_ms": 12.0, "p95_ms": 40.0, "top_error": "tool-error"}
    advice = {"severity": "error", "title": "Down", "what_to_do": "Start it.", "href": "/servers"}
    part = {"name": "worker", "state": "down", "detail": "Nobody is there.", "what_to_do": "Start one."}
    queue = {"waiting": 3, "running": 2, "later": 1, "oldest_seconds": 90.0}
    shown = {"parts": [part], "queue": queue, "hour": {"minutes": minutes, "by_server": [server]}, "advice": [advice]}
    well = shown | {"advice": [], "parts": [part | {"state": "ok"}]}
    await play(page, "**/v1/health", shown, well)
    await page.goto("/health")
    main = page.locator("main")
    for words in ("Start it.", "Nobody is there.", "Start one.", "1 min 30 s", "1,770 in all, 59 a minute at most"):
        await expect(main).to_contain_text(words)
    chart = page.get_by_role("img", name="Half are done within, the last 60 minutes")
    await expect(chart).to_have_attribute(
        "aria-label", "Half are done within, the last 60 minutes: last 159 ms, p50, least 100 ms, p50, most 159 ms, p50"
    )
    assert await main.locator("tbody a").last.get_attribute("href") == "/jobs?server=srv&status=failed"
    await expect(main).to_contain_text("Nothing is wrong.")  # at the next look


async def test_the_audit_is_filtered_by_its_address_paged_and_followed(console: Console) -> None:
    async with console.served.client() as client:
        for number in range(3):
            await client.request("POST", "/v1/users", {"name": f"audited-{number}"})
    async with console.opened() as page:
        await page.goto("/audit?action=user.add&search=audited")
        rows = page.locator("main tbody tr")
        await expect(rows).to_have_count(3)
        await expect(rows.first).to_contain_text("audited-2")
        await page.get_by_label("Search").fill("audited-1")
        await page.get_by_role("button", name="Show").click()
        await expect(rows).to_have_count(1)
        assert "search=audited-1" in page.url
        await page.get_by_label("Search").fill("audited")
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(3)
        await page.get_by_label("Follow").check()
        async with console.served.client() as client:
            await client.request("POST", "/v1/users", {"name": "audited-3"})
        await expect(rows).to_have_count(4)
        await expect(rows.first).to_contain_text("audited-3")


async def test_older_entries_come_when_asked_for(page: Page) -> None:
    entry = {"at": "2026-01-02T03:04:05Z", "actor": "ann", "action": "job.submit", "outcome": "ok", "times": 1}
    items = [entry | {"id": str(number), "client": "Mozilla/5.0 Chrome/150.0 Safari/537.36"} for number in range(70)]
    first, second = {"items": items[:50], "next_cursor": "c"}, {"items": items[50:], "next_cursor": None}
    await play(page, "**/v1/audit?*", first, second)
    await page.goto("/audit")
    await expect(page.locator("main tbody tr")).to_have_count(50)
    await expect(page.locator("main tbody tr").first).to_contain_text("Chrome 150")
    await page.get_by_role("button", name="Older entries").click()
    await expect(page.locator("main tbody tr")).to_have_count(70)
    await expect(page.get_by_role("button", name="Older entries")).to_have_count(0)
