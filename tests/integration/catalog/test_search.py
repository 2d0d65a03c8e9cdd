"""Finding the tools that matter for a request."""

from dataclasses import asdict, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.catalog import read
from nexus_hub.catalog.store import store
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, NotFound
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.upstream.snapshot import Snapshot

EMPTY = Snapshot("2026-07-28", None, None, {})
TOOLS: list[dict[str, Any]] = [
    {"name": "get_current_time", "description": "Get current time in a specific timezone. Times are exact."},
    {"name": "convertTime", "description": "Convert between timezones"},
    {"name": "list-issues", "description": "List the open issues of a repository", "title": "Issues"},
    {"name": "HTTPFetch", "description": "Read a page of the web at config.example.com"},
    {"name": "add", "description": "Adds", "inputSchema": {"properties": {"first_number": {"description": "summand"}}}},
]


async def put(
    database: Database, tools: list[dict[str, Any]], name: str = "srv", owner: UUID | None = None
) -> ServerRef:
    ref = ServerRef("system" if owner is None else "user", uuid4())
    whole = [{"inputSchema": {"type": "object"}} | tool for tool in tools]
    async with database.transaction() as transaction:
        await store(transaction, ref, name, owner, replace(EMPTY, tools=whole))
    return ref


async def found(database: Database, query: str, principal: Principal = OPERATOR, **more: Any) -> list[str]:
    items = asdict(await read.list_entries(database, principal, "tools", query=query, **more))["items"]
    return [item["name"].partition("__")[2] for item in items]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("what is the current time in Paris", "get_current_time"),
        ("which ISSUES are open?", "list-issues"),
        ("convert a time", "convertTime"),
        ("fetch something", "HTTPFetch"),
        ("httpfetch", "HTTPFetch"),
        ("first number", "add"),
        ("the summands", "add"),
        ("get_cur", "get_current_time"),
        ("t_curr", "get_current_time"),
        ("ADD", "add"),
        ("srv__list-issues", "list-issues"),
        ("example", "HTTPFetch"),
    ],
)
async def test_a_request_finds_the_tool_that_its_words_speak_of(hub_database: Database, query: str, first: str) -> None:
    await put(hub_database, TOOLS)
    assert (await found(hub_database, query))[:1] == [first]


@pytest.mark.parametrize(
    "query", ["what is it", "the", "zebra", "' OR true --", "%", "\\", "' | 'time", ":*", "!time!"]
)
async def test_what_speaks_of_no_tool_finds_none_and_is_no_query_language(hub_database: Database, query: str) -> None:
    await put(hub_database, TOOLS)
    expected = {"get_current_time", "convertTime"} if "time" in query else set()
    assert set(await found(hub_database, query)) == expected


async def test_names_that_are_the_query_or_begin_with_it_come_first(hub_database: Database) -> None:
    names = ["search_all", "re_search", "search", "other"]
    await put(hub_database, [{"name": name, "description": "search " * 5} for name in names])
    assert await found(hub_database, "search") == ["search", "search_all", "re_search", "other"]


async def test_a_rare_word_counts_for_more_than_a_common_one(hub_database: Database) -> None:
    common = [{"name": f"get_file_{number}", "description": "Get a file"} for number in range(9)]
    await put(hub_database, [*common, {"name": "weather", "description": "Forecasts"}])
    assert (await found(hub_database, "get the file with the weather"))[0] == "weather"


async def test_pages_of_a_search_hold_every_tool_once_in_the_same_order(hub_database: Database) -> None:
    await put(hub_database, [{"name": f"time_{number % 3}_{number}", "description": "time"} for number in range(25)])
    whole = await found(hub_database, "some time 1")
    pages, cursor = [], None
    while True:
        page = asdict(
            await read.list_entries(hub_database, OPERATOR, "tools", query="some time 1", limit=4, cursor=cursor)
        )
        pages += [item["name"].partition("__")[2] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert pages == whole
    assert len(set(whole)) == 25


async def test_a_cursor_of_another_kind_of_list_is_refused(hub_database: Database) -> None:
    await put(hub_database, TOOLS)
    named = asdict(await read.list_entries(hub_database, OPERATOR, "tools", limit=1))["next_cursor"]
    searched = asdict(await read.list_entries(hub_database, OPERATOR, "tools", query="time", limit=1))["next_cursor"]
    with pytest.raises(InvalidRequest):
        await read.list_entries(hub_database, OPERATOR, "tools", query="time", cursor=named)
    with pytest.raises(InvalidRequest):
        await read.list_entries(hub_database, OPERATOR, "tools", cursor=searched)


async def test_a_search_finds_own_and_system_tools_only(hub_database: Database) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    system = await put(hub_database, [{"name": "time"}])
    await put(hub_database, [{"name": "time_of_ann"}], "anns", ann.user_id)
    assert await found(hub_database, "time", ann) == ["time", "time_of_ann"]
    assert await found(hub_database, "time", bob) == ["time"]
    assert await found(hub_database, "time", bob, server=str(system.server_ref_id)) == ["time"]
    sizes = [
        asdict(await read.list_entries(hub_database, who, "tools", compact=True))["tokens"]["all"]
        for who in (ann, bob, OPERATOR)
    ]
    assert sizes[0] == sizes[2] > sizes[1]


async def test_tokens_say_what_a_search_saves(hub_database: Database) -> None:
    await put(hub_database, TOOLS)
    plain = asdict(await read.list_entries(hub_database, OPERATOR, "tools"))
    assert "tokens" not in plain
    full = asdict(await read.list_entries(hub_database, OPERATOR, "tools", query="time"))["tokens"]
    compact = asdict(await read.list_entries(hub_database, OPERATOR, "tools", query="time", compact=True))["tokens"]
    assert full["all"] == compact["all"] > full["shown"] > compact["shown"] > 0
    assert full["saved"] == full["all"] - full["shown"]


async def test_compact_items_are_a_name_and_a_line(hub_database: Database) -> None:
    await put(hub_database, TOOLS)
    page = asdict(
        await read.list_entries(hub_database, OPERATOR, "tools", query="the current time", limit=1, compact=True)
    )
    assert page["items"] == [
        {"name": "srv__get_current_time", "description": "Get current time in a specific timezone."}
    ]


async def test_a_tool_is_shown_with_its_schema_to_who_may_call_it(hub_database: Database) -> None:
    ann, bob = Principal(uuid4()), Principal(uuid4())
    await put(hub_database, TOOLS)
    await put(hub_database, [{"name": "mine"}], "anns", ann.user_id)
    shown = await read.show(hub_database, bob, "srv__add")
    assert shown.definition["inputSchema"]["properties"] == {"first_number": {"description": "summand"}}
    assert (await read.show(hub_database, ann, "anns__mine")).tool_name == "mine"
    for who, name in ((bob, "anns__mine"), (bob, "srv__none")):
        with pytest.raises(NotFound):
            await read.show(hub_database, who, name)


@pytest.mark.parametrize(
    "more",
    [
        {"inputSchema": {"properties": []}},
        {"inputSchema": {"properties": {"a": 1, "b": {"description": {"x": 1}}}}},
        {"inputSchema": "none"},
        {"description": "word " * 500_000, "title": "x" * 100_000},
        {"description": " ".join(f"w{number}" for number in range(300_000))},
        {"inputSchema": {"properties": {f"p{number}" * 40: {} for number in range(9_000)}}},
    ],
)
async def test_whatever_a_server_says_of_a_tool_it_is_stored_and_found(
    hub_database: Database, more: dict[str, Any]
) -> None:
    await put(hub_database, [{"name": "odd"} | more])
    assert await found(hub_database, "odd") == ["odd"]


async def test_a_pasted_document_is_a_query_by_its_beginning(hub_database: Database) -> None:
    await put(hub_database, TOOLS)
    assert (await found(hub_database, "List open issues. " + "x " * 50_000))[0] == "list-issues"
