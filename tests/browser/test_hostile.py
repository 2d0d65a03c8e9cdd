"""Names, descriptions, results and errors that want to be more than text: pages show them, and nothing else happens."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.fixtures.axe import is_wider_than_window
from tests.fixtures.console import Console
from tests.fixtures.console_rows import add_job
from tests.fixtures.hostile import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")
ACTS = [
    "<script>window.acted = 1</script>",
    "</script><script>window.acted = 1</script>",
    "<img src=x onerror='window.acted = 1'>",
    "\"><svg onload='window.acted = 1'>",
    "javascript:window.acted = 1",
    "<style>main { display: none }</style>",
    "${window.acted = 1} {{window.acted = 1}}",
]
TURNS = "\u202egnp.exe\u202c \u2066isolated\u2069 \u200bzero\u200d \x1b[31mred\x1b[0m \x00\x07\x7f \U000e0041"
LONG = "w" * 1_000_000
WORST = " ".join([*ACTS, TURNS])
NUMBERS = '{"huge": 1e400, "long": 123456789012345678901234567890, "zero": -0.0, "tiny": 1e-400}'
WATCH = """
    window.broken = [];
    addEventListener('securitypolicyviolation', (event) => window.broken.push(event.violatedDirective));
"""
UNSEEN = r"""
    () => {
      const unseen = new RegExp('[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f'
        + '\\u202a-\\u202e\\u2060-\\u2069\\u{e0000}-\\u{e007f}]', 'u');
      const found = [];
      const texts = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
      while (texts.nextNode())
        if (unseen.test(texts.currentNode.data)) found.push(texts.currentNode.parentNode.outerHTML.slice(0, 200));
      for (const one of document.querySelectorAll('[title], [aria-label]'))
        if (unseen.test(one.title + one.getAttribute('aria-label'))) found.push(one.outerHTML.slice(0, 200));
      return found;
    }
"""
RUNS = r"""
    () => [...document.querySelectorAll('[href], [src]')]
      .filter((one) => /^\s*javascript:/i.test(one.getAttribute('href') ?? one.getAttribute('src'))).length
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mallory(console: Console) -> AsyncIterator[dict[str, str]]:
    """A user whose server, tools, jobs and clients are hostile: the token, and the ids of what it has."""
    principal, token = await console.served.user("mallory")
    ids = {"token": token, "user": str(principal.user_id), "server": str(uuid4())}
    async with await psycopg.AsyncConnection.connect(console.served.admin_url, autocommit=True) as connection:
        await add_server(connection, ids)
        for number, text in enumerate([*ACTS, *HOSTILE, WORST, LONG]):
            await add_tool(connection, ids, number, text)
        ids |= await add_jobs(connection, ids)
    async with console.opened(token, user_agent="Mallory/1.0 <script>window.acted = 1</script>") as page:
        await page.goto("/jobs")
        await page.locator("main h1").wait_for()
    yield ids
    for table, column in (("job_results", "user_id"), ("tool_cache", "user_id"), ("user_servers", "user_id")):
        await console.execute(f"DELETE FROM {table} WHERE {column} = %(user)s", user=ids["user"])


async def add_server(connection: psycopg.AsyncConnection[Any], ids: dict[str, str]) -> None:
    """Add a server of the user's that says the worst of itself."""
    await connection.execute(
        "INSERT INTO user_servers (id, user_id, name, endpoint) VALUES (%(server)s, %(user)s, 'mallory', %(text)s)",
        ids | {"text": f"https://evil.example/{'x' * 500}"},
    )
    await connection.execute(
        "INSERT INTO server_state (server_type, server_ref_id, user_id, name, status, server_info, instructions)"
        " VALUES ('user', %(server)s, %(user)s, 'mallory', 'ready', %(info)s, %(text)s)"
        " ON CONFLICT (server_type, server_ref_id) DO UPDATE SET server_info = excluded.server_info,"
        " instructions = excluded.instructions, status = 'ready'",
        ids | {"info": json.dumps({"name": _storable(WORST), "version": _storable(TURNS)}), "text": _storable(WORST)},
    )


async def add_tool(connection: psycopg.AsyncConnection[Any], ids: dict[str, str], number: int, text: str) -> None:
    """Add a tool whose words are this text."""
    words = _storable(text)[:5000]
    schema = {"type": "object", "properties": {words[:200]: {"type": "string", "description": words, "default": words}}}
    definition = {"name": f"t{number}", "title": words, "description": words, "inputSchema": schema}
    await connection.execute(
        "INSERT INTO tool_cache (server_ref_id, server_type, user_id, namespaced_name, tool_name, title, description,"
        " definition) VALUES (%(server)s, 'user', %(user)s, %(name)s, %(own)s, %(words)s, %(words)s, %(definition)s)",
        ids
        | {"name": f"mallory__t{number}", "own": f"t{number}", "words": words, "definition": json.dumps(definition)},
    )


async def add_jobs(connection: psycopg.AsyncConnection[Any], ids: dict[str, str]) -> dict[str, str]:
    """Add jobs of the user's: with the worst of each column, and with texts of a million letters."""
    common = {
        "server": ids["server"],
        "server_type": "user",
        "user_id": ids["user"],
        "params": {WORST.replace("\x00", ""): 1},
    }
    texts = [{"type": "text", "text": _storable(text)} for text in (WORST, *HOSTILE)]
    links = [
        {"type": "resource_link", "name": _storable(WORST), "uri": uri}
        for uri in ("javascript:window.acted=1", "data:text/html,<script>")
    ]
    structured = f'{{"n": {NUMBERS}, "s": {json.dumps(_storable(WORST))}}}'
    sent = f'{{"content": {json.dumps([*texts, *links])}, "structuredContent": {structured}}}'
    kinds: dict[str, dict[str, Any]] = {
        "ended": {"status": "completed", "tool_name": _storable(WORST)[:150]},
        "failed": {"status": "failed", "tool_name": "t", "error": _storable(WORST), "error_code": "upstream-rejected"},
        "long": {"status": "failed", "tool_name": LONG[:5000], "error": LONG, "error_code": "upstream-rejected"},
        "running": {
            "status": "running",
            "tool_name": "t",
            "progress": {"progress": 1, "total": 3, "message": _storable(WORST)},
        },
    }
    jobs = {}
    for name, columns in kinds.items():
        jobs[name] = str(await add_job(connection, **common, **columns))
    await connection.execute("SET session_replication_role = replica")  # what has ended does not change
    await connection.execute("UPDATE job_results SET result_sent = %s::json WHERE id = %s", [sent, jobs["ended"]])
    return jobs


def _storable(text: str) -> str:
    """The text without what PostgreSQL's text and jsonb do not hold."""
    return "".join(one for one in text if one != "\x00" and not 0xD800 <= ord(one) <= 0xDFFF)


async def harmless(page: Page, path: str, sign: str) -> None:
    """Open a page, and look for any effect of what it shows."""
    await page.goto(path)
    await page.locator(sign).first.wait_for()
    assert await page.evaluate("() => window.acted") is None, path
    assert await page.evaluate("() => window.broken") == [], path
    assert await page.evaluate(UNSEEN) == [], path
    assert await page.evaluate(RUNS) == 0, path
    assert not await is_wider_than_window(page), path


@pytest.mark.parametrize(
    "size", [{"width": 1280, "height": 800}, {"width": 360, "height": 800}], ids=["wide", "narrow"]
)
async def test_a_user_with_hostile_things_sees_harmless_pages(
    console: Console, mallory: dict[str, str], size: dict[str, int]
) -> None:
    pages = {f"/jobs/{mallory[name]}": "main .badge" for name in ("ended", "failed", "long", "running")} | {
        "/jobs": "main tbody tr",
        "/servers": "main .badge",
        f"/servers/user/{mallory['server']}": "main .badge",
        "/tools": "main a[href^='/tools/']",
        "/tools?query=window": "main h1",
        "/tools/mallory__t1": "main form",
        f"/tools/mallory__t{len(ACTS) + len(HOSTILE)}": "main form",
        "/approvals": "main .table-place",
        "/bundles": "main h1",
        "/changes": "main h1",
        "/account": "main .table-place",
        "/health": "main .chart",
    }
    async with console.opened(mallory["token"], viewport=size) as page:
        await page.add_init_script(WATCH)
        for path, sign in pages.items():
            await harmless(page, path, sign)


async def test_an_operator_sees_the_same_things_harmless(console: Console, mallory: dict[str, str], page: Page) -> None:
    await page.add_init_script(WATCH)
    for path, sign in {
        "/audit": "main tbody tr",
        "/audit?user=mallory": "main tbody tr",
        "/jobs?user=mallory": "main tbody tr",
        "/users": "main tbody tr",
        "/health": "main .chart",
        f"/jobs/{mallory['ended']}": "main .badge",
    }.items():
        await harmless(page, path, sign)


async def test_a_result_that_is_opened_shows_its_numbers_as_sent(
    console: Console, mallory: dict[str, str], page: Page
) -> None:
    await page.add_init_script(WATCH)
    await page.goto(f"/jobs/{mallory['ended']}")
    await page.get_by_role("button", name="Show result").click()
    await page.get_by_text("123456789012345678901234567890").first.wait_for()
    assert await page.evaluate("() => window.acted") is None
    assert await page.evaluate("() => window.broken") == []
    assert await page.evaluate(UNSEEN) == []
    assert await page.evaluate(RUNS) == 0
    text = await page.locator("main").inner_text()
    assert "1e400" in text
    assert "-0.0" in text
