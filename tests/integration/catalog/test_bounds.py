"""Bounds of the catalog's lists and of its search: what one question may cost, whatever servers say and users ask."""

from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from nexus_hub.catalog import read
from nexus_hub.catalog.store import CATALOG, store
from nexus_hub.db.pool import Database
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.postgres import HubDatabase

EMPTY = Snapshot("2026-07-28", None, None, {})
HEAVY = "x" * 300_000


def tool(name: str, description: str = "", **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"} | schema}


async def put(database: Database, **offers: Any) -> None:
    async with database.transaction() as transaction:
        await store(transaction, ServerRef("system", uuid4()), "srv", None, replace(EMPTY, **offers))


async def pages(database: Database, kind: read.Kind, **more: Any) -> list[list[str]]:
    """The names on each page."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = asdict(await read.list_entries(database, OPERATOR, kind, cursor=cursor, limit=1000, **more))
        found.append([item["name"].rpartition("_")[2] for item in page["items"]])
        if (cursor := page["next_cursor"]) is None:
            return found


async def names(database: Database, kind: read.Kind = "tools", **more: Any) -> list[str]:
    return [name for page in await pages(database, kind, **more) for name in page]


@pytest.mark.parametrize("query", [None, "thing"])
async def test_a_page_of_tools_ends_with_its_bytes_and_the_next_goes_on(
    hub_database: Database, query: str | None
) -> None:
    await put(hub_database, tools=[tool(f"thing_{number}", x=HEAVY) for number in range(9)])
    assert await pages(hub_database, "tools", query=query) == [list("0123"), list("4567"), ["8"]]


@pytest.mark.parametrize("kind", ["resources", "prompts"])
@pytest.mark.parametrize("query", [None, "thing"])
async def test_a_page_of_resources_or_prompts_does_so_too(
    hub_database: Database, kind: read.Kind, query: str | None
) -> None:
    entries = [{"name": f"thing_{n}", "uri": f"x://thing_{n}", "x": HEAVY} for n in range(9)]
    await put(hub_database, **{kind: entries})
    assert await pages(hub_database, kind, query=query) == [list("0123"), list("4567"), ["8"]]


async def test_an_entry_over_the_bytes_of_a_page_has_a_page_of_its_own(hub_database: Database) -> None:
    await put(hub_database, tools=[tool(f"thing_{n}", x=HEAVY * 5) for n in range(3)])
    assert await pages(hub_database, "tools") == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize("query", [None, "thing"])
async def test_the_short_form_reads_no_definition_and_needs_one_page(hub_database: Database, query: str | None) -> None:
    await put(hub_database, tools=[tool(f"thing_{n}", f"\n  Thing {n}. {HEAVY}", x=HEAVY) for n in range(9)])
    page = asdict(await read.list_entries(hub_database, OPERATOR, "tools", query=query, compact=True))
    assert [item["description"] for item in page["items"]] == [f"Thing {n}." for n in range(9)]
    assert page["tokens"]["all"] > 9 * 600_000 // 4 > page["tokens"]["shown"]


async def test_a_query_is_read_as_far_as_its_first_words(hub_database: Database) -> None:
    await put(hub_database, tools=[tool("needle"), tool("other")])
    hay = [f"straw{number}" for number in range(read.MOST_WORDS)]
    assert await names(hub_database, query=" ".join([*hay[1:], "needle"])) == ["needle"]
    assert await names(hub_database, query=" ".join([*hay, "needle"])) == []
    assert await names(hub_database, query=" ".join([*hay[1:] * 3, "needle"])) == ["needle"]


async def test_a_search_orders_as_many_tools_as_it_may_those_of_the_rarest_words(
    hub_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MOST_RANKED", 3)
    common = [tool(f"common_{number}", "get") for number in range(20)]
    await put(hub_database, tools=[*common, tool("rare", "get the gold"), tool("rarer", "get the gold, get silver")])
    found = await names(hub_database, query="get some gold or silver")
    assert found[:2] == ["rarer", "rare"]
    assert len(found) == 3


@pytest.mark.parametrize("speak", ["description", "parameters", "parameter descriptions"])
async def test_of_what_a_tool_says_at_length_the_beginning_is_looked_through(
    hub_database: Database, speak: str
) -> None:
    words = [f"word{number}" for number in range(3000)]
    said: dict[str, dict[str, Any]] = {
        "description": {"description": " ".join(words)},
        "parameters": {"inputSchema": {"properties": {word: {} for word in words}}},
        "parameter descriptions": {"inputSchema": {"properties": {"p": {"description": " ".join(words)}}}},
    }
    await put(hub_database, tools=[tool("long") | said[speak]])
    first, last = sorted(words)[0] if speak == "parameters" else words[0], words[-1]
    assert await names(hub_database, query=first) == ["long"]
    assert await names(hub_database, query=last) == []
    async with hub_database.transaction() as transaction:
        assert await transaction.only(b"SELECT length(search) AS words FROM tool_cache", int) < 1000


@pytest.mark.parametrize("kind", ["resources", "prompts"])
async def test_of_a_resource_or_prompt_likewise(hub_database: Database, kind: read.Kind) -> None:
    entry = {"name": "p_1", "uri": "x://p_1", "description": "gold " + " " * read.LONGEST_TEXT + "silver"}
    await put(hub_database, **{kind: [entry | {"title": "bronze"}]})
    for query, found in (("gold", ["1"]), ("bronze", ["1"]), ("silver", []), ("g" * 100_000, [])):
        assert await names(hub_database, kind, query=query) == found


async def test_a_server_by_a_name_of_any_length_is_no_server(hub_database: Database) -> None:
    await put(hub_database, tools=[tool("one")])
    assert await names(hub_database, server="s" * 1_000_000) == []
    assert await names(hub_database, server="srv" + "x" * 1_000_000) == []


def most_rows(plan: dict[str, Any]) -> Any:
    """The most rows that a step of the plan has looked at in all."""
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    own = plan["Actual Loops"] * (plan["Actual Rows"] + removed)
    return max(own, *(most_rows(part) for part in plan.get("Plans", [])), 0)


async def test_a_search_holds_each_tool_against_each_word_that_counts_once(
    hub_database: Database, database: HubDatabase
) -> None:
    words = [f"w{number}" for number in range(300)]
    await put(hub_database, tools=[tool(f"t_{number}", " ".join(words)) for number in range(60)])
    parameters = {
        "query": " ".join(words),
        "most_words": read.MOST_WORDS,
        "most_ranked": read.MOST_RANKED,
        "all_users": True,
        "user_id": None,
        "server": None,
        "tagged": None,
        "read_only": False,
        "limit": 11,
        "most_bytes": read.PAGE_BYTES,
        "compact": False,
        "longest_text": 10,
        "after_score": None,
        "after_name": None,
        "after_id": None,
    }
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        await connection.execute("ANALYZE tool_cache")
        explained = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + CATALOG["search_tools"], parameters
        )
        row = await explained.fetchone()
    assert row is not None
    assert most_rows(row[0][0]["Plan"]) <= 60 * read.MOST_WORDS


async def test_a_user_is_shown_no_more_by_pages_than_before(hub_database: Database) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    async with hub_database.transaction() as transaction:
        ref = ServerRef("user", uuid4())
        await store(transaction, ref, "anns", ann.user_id, replace(EMPTY, tools=[tool("mine_1", x=HEAVY)]))
    for who, count in ((ann, 1), (bob, 0)):
        for query in (None, "mine"):
            assert len((await read.list_entries(hub_database, who, "tools", query=query)).items) == count
