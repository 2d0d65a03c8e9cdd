"""The console's core, module by module, in the browser that runs it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.fixtures.console import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def core(console: Console) -> AsyncIterator[Page]:
    """One page for all tests, not logged in: modules need no session."""
    async with console.opened(None) as page:
        await page.goto("/login")
        yield page


async def run(page: Page, module: str, body: str, value: Any = None) -> Any:
    """What a function's body gives, for which `m` is a module and `value` what it is handed."""
    return await page.evaluate(f"async (value) => {{ const m = await import('/assets/{module}'); {body} }}", value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢 👨‍👩‍👧", "plain ä 漢 👨‍👩‍👧"),
        ("a\u202eb\u2066c", "a⟨U+202E⟩b⟨U+2066⟩c"),
        ("\x1b[31mred\x00\x7f", "⟨ESC⟩[31mred⟨U+0000⟩⟨U+007F⟩"),
        ("line\r\nline\ttab", "line\nline\ttab"),
        ("no\u200bwidth\u200dhere\ufeff", "no⟨U+200B⟩width⟨U+200D⟩here⟨U+FEFF⟩"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
    ],
)
async def test_what_can_not_be_seen_is_written_out(core: Page, text: str, shown: str) -> None:
    assert await run(core, "core/text.js", "return m.visible(value)", text) == shown


async def test_half_a_character_is_written_out(core: Page) -> None:
    assert await run(core, "core/text.js", "return m.visible('a\\ud800b')") == "a⟨U+D800⟩b"


async def test_text_is_cut_by_length_and_lines_and_shown_on_demand(core: Page) -> None:
    cut = """
        const node = m.safe(value.text, value.options);
        const seen = [node.textContent];
        while (node.querySelector('button')) {
            node.querySelector('button').click();
            seen.push(node.textContent.length);
        }
        return seen;
    """
    by_lines = await run(core, "core/text.js", cut, {"text": "one\ntwo\nthree", "options": {"lines": 2}})
    assert by_lines == ["one\ntwo… show all", len("one\ntwo\nthree")]
    by_length = await run(core, "core/text.js", cut, {"text": "x" * 120_000, "options": {"most": 10}})
    assert by_length[0] == "x" * 10 + "… show more (120 kB left)"
    assert len(by_length) == 4, "a long text comes in pieces"
    assert by_length[-1] == 120_000


async def test_a_cut_never_halves_a_character(core: Page) -> None:
    body = "return m.safe('ab🙂cd', {most: 3, button: false}).textContent"
    assert await run(core, "core/text.js", body) == "ab…"


async def test_markup_stays_text(core: Page) -> None:
    body = "const n = m.h('p', {title: value}, value); return [n.children.length, n.textContent, n.title]"
    text = "<img src=x onerror=alert(1)>"
    assert await run(core, "core/dom.js", body, text) == [0, text, text]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("javascript:alert(1)", None),
        (" java\nscript:alert(1)", None),
        ("vbscript:x", None),
        ("/jobs/7", "/jobs/7"),
        ("https://a.example/x", "https://a.example/x"),
    ],
)
async def test_an_address_that_would_run_is_not_set(core: Page, address: str, kept: str | None) -> None:
    assert await run(core, "core/dom.js", "return m.h('a', {href: value}).getAttribute('href')", address) == kept


async def test_numbers_are_shown_as_they_were_sent(core: Page) -> None:
    body = "return m.tree(m.readExact(value)).textContent"
    shown = await run(core, "core/tree.js", body, '{"a":1.0,"b":12345678901234567890,"c":1e2,"d":0.5}')
    assert shown == "{ 4 members }a: 1.0b: 12345678901234567890c: 1e2d: 0.5"


async def test_a_large_tree_is_made_as_it_is_opened(core: Page) -> None:
    body = """
        const tree = m.tree(value);
        document.body.append(tree);
        const before = tree.querySelectorAll('.tree-leaf').length;
        tree.querySelector('details').open = true;
        await new Promise((done) => setTimeout(done, 50));
        const opened = tree.querySelectorAll('.tree-leaf').length;
        tree.querySelector('button').click();
        return [before, opened, tree.querySelectorAll('.tree-leaf').length, tree.querySelector('button').textContent];
    """
    shown = await run(core, "core/tree.js", body, list(range(1000)))
    assert shown == [0, 100, 200, "show 100 more of 800"]


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("duration(0)", "0 ms"),
        ("duration(840.4)", "840 ms"),
        ("duration(2412)", "2.41 s"),
        ("duration(59960)", "1 min 0 s"),
        ("duration(3 * 3600e3 + 60e3)", "3 h 1 min"),
        ("duration(null)", "–"),
        ("bytes(812)", "812 B"),
        ("bytes(1440)", "1.4 kB"),
        ("bytes(999600)", "1.0 MB"),
        ("number(12345)", "12,345"),
        ("ago(new Date(0), 90e3)", "1 min ago"),
        ("ago(new Date(7200e3), 0)", "in 2 h"),
        ("ago(new Date(500), 0)", "now"),
    ],
)
async def test_figures_are_written_for_people(core: Page, call: str, shown: str) -> None:
    assert await run(core, "core/format.js", f"return m.{call}") == shown


async def test_a_time_is_exact_in_its_title_and_in_the_readers_zone(core: Page) -> None:
    body = "const t = m.time('2026-06-01T12:00:00Z'); return [t.title, t.dateTime]"
    title, sent = await run(core, "core/format.js", body)
    assert "14:00:00" in title
    assert sent == "2026-06-01T12:00:00Z"


async def test_a_table_keeps_the_rows_that_did_not_change(core: Page) -> None:
    body = """
        const one = {id: '1', text: 'a'}, two = {id: '2', text: 'b'};
        const columns = [{title: 'T', cell: (row) => row.text}];
        const {element, update} = m.table({columns, rows: [one, two], key: (row) => row.id});
        const cell = (id) => element.querySelector(`tr[data-key="${id}"] td`);
        const [first, second] = [cell('1'), cell('2')];
        update([{id: '3', text: 'c'}, one, {id: '2', text: 'B'}]);
        return [element.querySelector('tbody').textContent, cell('1') === first, cell('2') === second];
    """
    text, kept, same_cell = await run(core, "core/table.js", body)
    assert (text, kept, same_cell) == ("caB", True, False)


async def test_a_sparkline_says_its_figures(core: Page) -> None:
    body = "return m.sparkline({points: [1, null, 2.5], label: 'Ended', unit: 'jobs'}).getAttribute('aria-label')"
    assert await run(core, "core/sparkline.js", body) == "Ended: last 2.5 jobs, least 1 jobs, most 2.5 jobs"


async def test_paths_find_their_page(core: Page) -> None:
    body = """
        const found = m.match([{path: '/jobs'}, {path: '/tools/{name}'}], value);
        return found && [found.route.path, found.params];
    """
    assert await run(core, "core/router.js", body, "/tools/a%2Fb") == ["/tools/{name}", {"name": "a/b"}]
    assert await run(core, "core/router.js", body, "/tools/") is None
    assert await run(core, "core/router.js", body, "/jobs/1/2") is None


@pytest.mark.parametrize("value", [{"a": 1}, [1, "]}"], 'a "quoted" \\ text', None, 1.5, {}, {"result": {"x": "{"}}])
async def test_a_member_is_cut_out_as_it_was_sent(core: Page, value: Any) -> None:
    sent = json.dumps(value, indent=1)
    text = f'{{"id": "a,\\"result\\":1", "params": {{"result": [1, 2]}}, "result" : {sent} , "error": null}}'
    assert await run(core, "jobs/member.js", "return m.memberText(value, 'result')", text) == sent


async def test_a_missing_member_is_none(core: Page) -> None:
    body = "return [m.memberText('{}', 'a'), m.memberText('{\"b\":{\"a\":1}}', 'a')]"
    assert await run(core, "jobs/member.js", body) == [None, None]


async def test_polling_stops_with_the_page_and_never_overlaps(core: Page) -> None:
    body = """
        const page = new AbortController();
        let calls = 0, running = 0, most = 0;
        await m.every(0.01, async () => {
            calls += 1; running += 1; most = Math.max(most, running);
            await new Promise((done) => setTimeout(done, 5));
            running -= 1;
            if (calls === 5) page.abort();
        }, page.signal);
        await new Promise((done) => page.signal.addEventListener('abort', () => setTimeout(done, 100)));
        return [calls, most];
    """
    assert await run(core, "core/live.js", body) == [5, 1]
