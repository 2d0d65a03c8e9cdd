"""Finding tools in memory: what is found is what is there and seen now, whoever asks, and however it has changed."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from nexus_hub.catalog.read import ToolFilters
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest
from nexus_hub.live import tool_index
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.search.document import ToolDocument
from nexus_hub.search.index import ToolIndex
from tests.fixtures.finding import Finding, add_user, grant, put
from tests.fixtures.postgres import HubDatabase

MAIL = {"name": "send_mail", "description": "Send a letter to somebody"}
READ = {"name": "read_mail", "description": "Read a letter", "annotations": {"readOnlyHint": True}}


@pytest_asyncio.fixture
async def live(hub_database: Database, database: HubDatabase) -> AsyncIterator[Finding]:
    async with Finding(hub_database, database.app_url).live() as finding:
        yield finding


async def test_a_search_follows_the_catalog(live: Finding) -> None:
    assert await live.names("letter") == []
    ref = await put(live.database, "post", MAIL, READ)
    await live.until_heard()
    assert set(await live.names("letter")) == {"post__send_mail", "post__read_mail"}
    await put(live.database, "post", {**MAIL, "description": "Throw confetti"}, ref=ref)
    await live.until_heard()
    assert await live.names("letter") == []
    assert await live.names("confetti") == ["post__send_mail"]
    async with live.database.transaction() as transaction:
        await transaction.run(b"DELETE FROM tool_cache")
    await live.until_heard()
    assert await live.names("confetti") == []


async def test_what_is_gone_from_the_catalog_is_not_found_though_the_index_has_not_heard(live: Finding) -> None:
    await put(live.database, "post", MAIL, READ)
    await live.until_heard()
    live.index.notice = lambda change: None  # type: ignore[method-assign]
    async with live.database.transaction() as transaction:
        await transaction.run(b"UPDATE tool_cache SET enabled = false WHERE tool_name = 'send_mail'")
    assert await live.names("letter") == ["post__read_mail"]


async def test_each_user_finds_what_the_user_sees(live: Finding) -> None:
    ann, bob, cid = [await add_user(live.database, name) for name in ("ann", "bob", "cid")]
    await put(live.database, "open", {**MAIL, "name": "mail_all"})
    closed = await put(live.database, "closed", MAIL, READ, access="closed")
    await grant(live.database, ann, closed)
    await grant(live.database, bob, closed, "read_mail")
    await live.until_heard()
    assert set(await live.names("letter", ann)) == {"open__mail_all", "closed__send_mail", "closed__read_mail"}
    assert set(await live.names("letter", bob)) == {"open__mail_all", "closed__read_mail"}
    assert await live.names("letter", cid) == ["open__mail_all"]
    assert len(await live.names("letter")) == 3
    assert await live.names("letter", cid, server="closed") == await live.names("letter", cid, server="nosuch") == []


async def test_for_any_grants_a_search_finds_what_is_listed(live: Finding) -> None:
    draw = random.Random(16)
    servers = {
        await put(
            live.database,
            f"server{number}",
            *({"name": f"mail_{n}", "description": "letter"} for n in range(draw.randint(1, 4))),
            access=draw.choice(["open", "closed", None]),
            tags=tuple(draw.sample(["a", "b"], draw.randint(0, 2))),
        )
        for number in range(12)
    }
    users = [await add_user(live.database, f"user{number}") for number in range(15)]
    for user in users:
        for ref in draw.sample(sorted(servers, key=str), draw.randint(0, 4)):
            await grant(live.database, user, ref, draw.choice([None, "mail_0", "mail_1", "mail_9"]))
        if draw.random() < 0.5:
            await put(live.database, f"server{draw.randint(0, 13)}", MAIL, {"name": "mail_0"}, owner=user.user_id)
    await live.until_heard()
    for user in [*users, OPERATOR, Principal(uuid4())]:
        for filters in ({}, {"tag": "a"}, {"server": "server3"}, {"own": False}):
            assert sorted(await live.names("mail letter", user, **filters)) == await live.names(None, user, **filters)


async def test_hidden_tools_change_neither_order_nor_size_of_what_is_found(live: Finding) -> None:
    ann = await add_user(live.database, "ann")
    await put(live.database, "open", *({"name": f"mail_{n}", "description": "letter " * n} for n in range(1, 6)))
    await live.until_heard()
    before = asdict(await live.finder.find_tools(ann, ToolFilters(), query="a letter", limit=3))
    crowd = [{"name": f"letter_{n}", "description": "letter"} for n in range(30)]
    await put(live.database, "closed", *crowd, access="closed")
    await live.until_heard()
    assert asdict(await live.finder.find_tools(ann, ToolFilters(), query="a letter", limit=3)) == before


async def test_a_users_own_tools_are_found_by_the_user_and_hide_those_of_the_same_name(live: Finding) -> None:
    ann, bob = [await add_user(live.database, name) for name in ("ann", "bob")]
    system = await put(live.database, "post", MAIL)
    own = await put(live.database, "post", {**MAIL, "description": "My letter"}, owner=ann.user_id)
    await live.until_heard()

    async def found(who: Principal, **more: Any) -> list[Any]:
        page = await live.finder.find_tools(who, ToolFilters(**more), query="letter")
        return [one.server_ref_id for one in page.items]

    assert await found(ann) == [own.server_ref_id]
    assert await found(bob) == [system.server_ref_id]
    assert {*await found(OPERATOR)} == {own.server_ref_id, system.server_ref_id}
    assert await found(OPERATOR, own=False) == [system.server_ref_id]
    await put(live.database, "mine", MAIL, owner=ann.user_id)
    await live.until_heard()
    assert len(await found(ann)) == 2
    assert len(await found(bob)) == 1


@pytest.mark.parametrize("query", ["letter", None])
async def test_filters_narrow_a_search_and_a_list_alike(live: Finding, query: str | None) -> None:
    ann = await add_user(live.database, "ann")
    await put(live.database, "post", MAIL, READ, tags=("office", "mail"))
    await put(live.database, "inbox", READ, tags=("mail",))
    await put(live.database, "hidden", READ, tags=("mail",), access="closed")
    own = await put(live.database, "own", READ, owner=ann.user_id)
    await live.until_heard()
    for filters, expected in (
        ({"tag": "office"}, {"post__send_mail", "post__read_mail"}),
        ({"tag": "mail", "read_only": True}, {"post__read_mail", "inbox__read_mail"}),
        ({"server": "inbox"}, {"inbox__read_mail"}),
        ({"server": str(own.server_ref_id)}, {"own__read_mail"}),
        ({"server": "inbox", "tag": "office"}, set()),
        ({"tag": "Mail"}, set()),
    ):
        assert set(await live.names(query, ann, **filters)) == expected, filters


async def test_pages_hold_each_tool_once_in_the_order_of_the_whole(live: Finding) -> None:
    tools = [{"name": f"mail_{n % 4}_{n}", "description": "letter " * (n % 5 + 1)} for n in range(23)]
    await put(live.database, "post", *tools)
    await live.until_heard()
    whole = await live.names("letter 2")
    seen, cursor = [], None
    while True:
        page = await live.finder.find_tools(OPERATOR, ToolFilters(), query="letter 2", limit=5, cursor=cursor)
        seen += [one.name for one in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == whole
    assert len({*whole}) == 23


async def test_a_page_goes_on_though_its_last_tool_is_gone(live: Finding) -> None:
    ref = await put(live.database, "post", *({"name": f"mail_{n}", "description": "letter"} for n in range(6)))
    await live.until_heard()
    page = await live.finder.find_tools(OPERATOR, ToolFilters(), query="letter", limit=3)
    assert [one.name for one in page.items] == ["post__mail_0", "post__mail_1", "post__mail_2"]
    await put(
        live.database, "post", *({"name": f"mail_{n}", "description": "letter"} for n in range(6) if n != 2), ref=ref
    )
    await live.until_heard()
    rest = await live.finder.find_tools(OPERATOR, ToolFilters(), query="letter", cursor=page.next_cursor)
    assert [one.name for one in rest.items] == ["post__mail_3", "post__mail_4", "post__mail_5"]


async def test_a_page_ends_after_a_megabyte_of_definitions(live: Finding) -> None:
    heavy = {"x": "y" * 600_000}
    await put(live.database, "post", *({"name": f"mail_{n}", "description": "letter"} | heavy for n in range(3)))
    await live.until_heard()
    first = await live.finder.find_tools(OPERATOR, ToolFilters(), query="letter")
    rest = await live.finder.find_tools(OPERATOR, ToolFilters(), query="letter", cursor=first.next_cursor)
    assert [len(first.items), len(rest.items), rest.next_cursor] == [2, 1, None]


async def test_before_there_is_an_index_the_database_searches(
    hub_database: Database, database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_index, "PATIENCE_SECONDS", 0.01)
    finding = Finding(hub_database, database.app_url)
    await put(hub_database, "post", MAIL, READ)
    page = await finding.finder.find_tools(OPERATOR, ToolFilters(), query="letter", limit=1)
    assert [one.name for one in page.items] == ["post__read_mail"]
    async with finding.live():
        await finding.until_heard()
        rest = await finding.finder.find_tools(OPERATOR, ToolFilters(), query="letter", cursor=page.next_cursor)
        assert [one.name for one in rest.items] == ["post__send_mail"]
        in_memory = await finding.finder.find_tools(OPERATOR, ToolFilters(), query="letter", limit=1)
    fresh = Finding(hub_database, database.app_url)
    with pytest.raises(InvalidRequest, match="begin it anew"):
        await fresh.finder.find_tools(OPERATOR, ToolFilters(), query="letter", cursor=in_memory.next_cursor)
    for one in (finding, fresh):
        one.index.close()


class PickyIndex(ToolIndex):
    """An index that can't take one tool."""

    def replace(self, group: Any, documents: Sequence[ToolDocument]) -> None:
        """Take documents, but for that one."""
        if any("poison" in one.name for one in documents):
            raise ValueError
        super().replace(group, documents)


async def test_a_server_that_can_not_be_indexed_costs_the_others_nothing(
    hub_database: Database, database: HubDatabase
) -> None:
    async with Finding(hub_database, database.app_url, PickyIndex).live() as finding:
        ref = await put(hub_database, "post", MAIL)
        await finding.until_heard()
        await put(hub_database, "post", MAIL, {**MAIL, "name": "poison"}, ref=ref)
        await put(hub_database, "inbox", READ)
        await finding.until_heard()
        assert await finding.names("letter") == ["inbox__read_mail"]


async def test_users_who_do_not_search_take_no_room(live: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_index, "MOST_OWN_TOOLS", 2)
    ann, bob, cid = [await add_user(live.database, name) for name in ("ann", "bob", "cid")]
    for who in (ann, bob, cid):
        await put(live.database, "own", MAIL, owner=who.user_id)

    def owners() -> set[Any]:
        return {one.owner for one in live.index.offered.values()}

    await live.until_heard()
    assert owners() == set()
    for who in (ann, bob, ann, cid):
        assert await live.names("letter", who) == ["own__send_mail"]
    assert owners() == {ann.user_id, cid.user_id}
    assert len(await live.names("letter")) == 3, "an operator's search of more than there is room for is the database's"
    assert owners() == {ann.user_id, cid.user_id}
    monkeypatch.setattr(tool_index, "IDLE_SECONDS", 0)
    live.index.notice(None)
    async with asyncio.timeout(30):
        while owners():
            await asyncio.sleep(0.01)


async def test_many_first_searches_at_once_find_all(live: Finding) -> None:
    ann = await add_user(live.database, "ann")
    await put(live.database, "own", *({**MAIL, "name": f"mail_{n}"} for n in range(20)), owner=ann.user_id)
    found = await asyncio.gather(*(live.names("letter", ann) for _ in range(10)))
    assert [len(names) for names in found] == [20] * 10


async def test_a_search_costs_tokens_only_of_what_is_seen(live: Finding) -> None:
    nobody = Principal(uuid4())
    await put(live.database, "post", MAIL)
    await put(live.database, "closed", {**MAIL, "x": "y" * 10_000}, access="closed")
    await live.until_heard()
    costs = [
        asdict(await live.finder.find_tools(who, ToolFilters(), query="letter"))["tokens"]["all"]
        for who in (nobody, OPERATOR)
    ]
    assert costs[0] < 100 < 2000 < costs[1]
