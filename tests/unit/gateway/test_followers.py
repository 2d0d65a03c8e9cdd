"""Followers: each hears what its own view sees, once for many changes, and costs no memory if it reads slowly."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.access.permissions import EVERYTHING, OPERATORS, Permissions
from nexus_hub.catalog.bundles import Bundle, BundleEntry
from nexus_hub.errors import NotFound
from nexus_hub.gateway import followers
from nexus_hub.gateway.entries import OfferingServer, Offers
from nexus_hub.gateway.followers import ALL_LISTS, LISTS, TASK, UPDATED, Address, Followers, NoticeFollower, Topic
from nexus_hub.gateway.views import Mode, View
from nexus_hub.live.listener import CatalogChange, CatalogKind, JobChange
from nexus_hub.models import OPERATOR, Principal, ServerRef

ANN, BOB = Principal(UUID(int=1)), Principal(UUID(int=2))
SYSTEM, MINE = ServerRef("system", UUID(int=3)), ServerRef("user", UUID(int=4))
OTHER = ServerRef("system", UUID(int=5))
TOOLS, PROMPTS, RESOURCES = (Topic(LISTS[kind]) for kind in ("tools", "prompts", "resources"))


class KnownViews:
    """Views as a test sets them."""

    servers: dict[str, ServerRef]
    permissions = OPERATORS

    def __init__(self) -> None:
        self.servers = {}

    async def view(self, principal: Principal, server: str | None = None, mode: Mode = "all") -> View:
        if server is not None and server not in self.servers:
            raise NotFound("server", server)
        ref = self.servers[server] if server else None
        found = None if ref is None else OfferingServer(ref.server_type, ref.server_ref_id, server or "", None)
        return View(principal, Offers(), Offers(), found, mode, permissions=self.permissions)


def at(principal: Principal, ref: ServerRef | None = None, mode: Mode = "all") -> Address:
    return Address(principal, None if ref is None else "srv", ref, mode)


def change(ref: ServerRef = SYSTEM, owner: Principal = OPERATOR, *kinds: CatalogKind) -> CatalogChange:
    return CatalogChange(ref, owner.user_id, frozenset(kinds or ("tools",)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rest for no time between the rounds."""
    monkeypatch.setattr(followers, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 0)


@pytest.fixture
def views() -> KnownViews:
    return KnownViews()


@pytest.fixture
def every(views: KnownViews) -> Followers:
    return Followers(views)  # type: ignore[arg-type]


async def heard(follower: NoticeFollower) -> list[Topic]:
    """Give what a follower is told next; nothing if it is told nothing."""
    if not follower._filled.is_set():
        return []
    rounds: AsyncIterator[list[Topic]] = follower.rounds()
    return await anext(rounds, [])


@pytest.mark.parametrize(
    ("seen", "said", "hears"),
    [
        (at(ANN), change(SYSTEM), True),
        (at(ANN), change(MINE, ANN), True),
        (at(ANN), change(MINE, BOB), False),
        (at(OPERATOR), change(SYSTEM), True),
        (at(OPERATOR), change(MINE, ANN), False),
        (at(ANN, MINE), change(MINE, ANN), True),
        (at(ANN, MINE), change(SYSTEM), False),
        (at(ANN, SYSTEM), change(SYSTEM), True),
        (at(ANN, SYSTEM), change(SYSTEM, BOB), False),
        (at(ANN, mode="search"), change(SYSTEM), False),
        (at(ANN), change(SYSTEM, OPERATOR, "server"), False),
    ],
)
async def test_a_client_hears_only_of_what_its_view_sees(
    every: Followers, seen: Address, said: CatalogChange, hears: bool
) -> None:
    with every.follow(seen, ALL_LISTS) as follower:
        every.notice(said)
        assert (await heard(follower) == [TOOLS]) == hears


SEEN, TOOL = (
    Permissions({SYSTEM.server_ref_id: EVERYTHING}),
    Permissions(tools={(SYSTEM.server_ref_id, "add"): EVERYTHING}),
)
OF_BUNDLE = BundleEntry(
    kind="tool",
    server="srv",
    source="*",
    id=uuid4(),
    bundle_id=uuid4(),
    server_ref_id=SYSTEM.server_ref_id,
    state="ok",
)
BUNDLE = Bundle(id=OF_BUNDLE.bundle_id, name="travel", entries=(OF_BUNDLE,))


@pytest.mark.parametrize(
    ("permissions", "bundle", "ref", "hears"),
    [
        (SEEN, None, SYSTEM, {TOOLS, PROMPTS}),
        (TOOL, None, SYSTEM, {TOOLS}),
        (Permissions(), None, SYSTEM, set()),
        (Permissions(), None, MINE, {TOOLS, PROMPTS}),
        (Permissions(), BUNDLE, SYSTEM, {TOOLS, PROMPTS}),
        (SEEN, BUNDLE, OTHER, set()),
    ],
)
async def test_a_change_of_what_is_hidden_is_no_news(
    every: Followers, permissions: Permissions, bundle: Bundle | None, ref: ServerRef, hears: set[Topic]
) -> None:
    address = replace(at(ANN), permissions=permissions, bundle=bundle)
    with every.follow(address, ALL_LISTS) as follower:
        every.notice(CatalogChange(ref, ANN.user_id if ref is MINE else None, frozenset({"tools", "prompts"})))
        assert set(await heard(follower)) == hears


async def test_a_client_hears_only_of_the_kinds_that_it_asked_for(every: Followers) -> None:
    with every.follow(at(ANN), frozenset({PROMPTS})) as follower:
        every.notice(change(SYSTEM, OPERATOR, "tools", "resources"))
        assert await heard(follower) == []
        every.notice(change(SYSTEM, OPERATOR, "tools", "prompts"))
        assert await heard(follower) == [PROMPTS]


async def test_many_changes_are_one_notice_of_each_kind(every: Followers) -> None:
    with every.follow(at(ANN), ALL_LISTS) as follower:
        for number in range(10_000):
            every.notice(CatalogChange(ServerRef("system", UUID(int=number)), None, frozenset({"tools", "prompts"})))
        assert len(follower._pending) == 2
        assert set(await heard(follower)) == {TOOLS, PROMPTS}
        assert await heard(follower) == []


async def test_a_change_while_a_notice_is_sent_is_told_of_afterwards(every: Followers) -> None:
    with every.follow(at(ANN), ALL_LISTS) as follower:
        rounds = follower.rounds()
        every.notice(change())
        assert await anext(rounds) == [TOOLS]
        every.notice(change())
        assert await anext(rounds) == [TOOLS]


async def test_changes_that_may_have_been_missed_are_told_of_as_all(every: Followers) -> None:
    with every.follow(at(ANN), ALL_LISTS) as follower:
        every.notice(None)
        assert set(await heard(follower)) == ALL_LISTS


async def test_whoever_has_left_is_forgotten(every: Followers) -> None:
    task = Topic(TASK, str(uuid4()))
    with every.follow(at(ANN), frozenset({TOOLS, task})):
        assert len(every) == 1
    assert (len(every), every._of_task) == (0, {})


async def test_a_closed_process_tells_nobody_any_more(every: Followers) -> None:
    with every.follow(at(ANN), ALL_LISTS) as follower:
        every.close()
        assert [one async for one in follower.rounds()] == []
    with every.follow(at(ANN), ALL_LISTS) as late:
        assert [one async for one in late.rounds()] == []


async def test_closing_ends_a_pause(every: Followers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "PAUSE_SECONDS", 3600)
    with every.follow(at(ANN), ALL_LISTS) as follower:
        every.notice(change())
        rounds = follower.rounds()
        await anext(rounds)
        asyncio.get_running_loop().call_soon(every.close)
        assert await anext(rounds, None) is None


async def test_a_server_that_is_gone_ends_the_streams_of_its_address(every: Followers, views: KnownViews) -> None:
    with every.follow(at(ANN, SYSTEM), ALL_LISTS) as follower:
        every.notice(change(SYSTEM, OPERATOR, "server"))
        await every.renew(follower)
        assert follower.closed.is_set()


@pytest.mark.parametrize("owner", [OPERATOR, ANN])
async def test_another_server_of_the_same_name_is_followed_in_its_place(
    every: Followers, views: KnownViews, owner: Principal
) -> None:
    with every.follow(at(ANN, SYSTEM), ALL_LISTS) as follower:
        views.servers["srv"] = MINE
        every.notice(change(MINE, owner, "server"))
        await every.renew(follower)
        assert set(await heard(follower)) == ALL_LISTS
        every.notice(change(MINE, ANN))
        assert await heard(follower) == [TOOLS]
        every.notice(change(SYSTEM))
        assert await heard(follower) == []


async def test_a_server_that_merely_changed_is_followed_on_without_a_word(every: Followers, views: KnownViews) -> None:
    views.servers["srv"] = SYSTEM
    with every.follow(at(ANN, SYSTEM), ALL_LISTS) as follower:
        every.notice(change(SYSTEM, OPERATOR, "server"))
        await every.renew(follower)
        assert not follower.closed.is_set()
        assert not follower._pending


async def test_only_those_who_may_do_more_or_less_are_told_when_permissions_change(
    every: Followers, views: KnownViews
) -> None:
    with every.follow(at(ANN), ALL_LISTS) as follower:
        every.doubt()
        assert not await every.renew(follower)
        assert not await every.renew(follower)
        assert not follower._pending
        views.permissions = Permissions()
        assert not await every.renew(follower)
        every.doubt()
        assert await every.renew(follower)
        assert set(await heard(follower)) == ALL_LISTS


def job_change(job_id: UUID, **more: Any) -> JobChange:
    return JobChange(job_id, 2, "running", ANN.user_id, **more)


async def test_a_task_is_told_of_to_those_that_follow_it_and_its_progress_to_nobody(every: Followers) -> None:
    mine, other = uuid4(), uuid4()
    topic = Topic(TASK, str(mine))
    with every.follow(at(ANN), frozenset({topic})) as follower, every.follow(at(ANN), ALL_LISTS) as stranger:
        every.notice_job(job_change(other))
        every.notice_job(job_change(mine, event="progress"))
        assert await heard(follower) == []
        every.notice_job(job_change(mine))
        assert await heard(follower) == [topic]
        every.notice_job(None)
        assert await heard(follower) == [topic]
        assert await heard(stranger) == []


async def test_a_resource_is_told_of_once_it_is_followed(every: Followers) -> None:
    topic = Topic(UPDATED, "x://1")
    with every.follow(at(ANN), frozenset()) as follower:
        follower.offer(topic)
        assert await heard(follower) == []
        follower.topics.add(topic)
        follower.offer(topic)
        assert await heard(follower) == [topic]
