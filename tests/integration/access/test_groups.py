"""Groups and grants: what operators may say of them, and what comes of it."""

from typing import Any
from uuid import uuid4

import pytest

from nexus_hub.access import access_grants, groups
from nexus_hub.access.access_grants import GrantWish
from nexus_hub.access.permissions import EVERYTHING, Permission, read_permissions
from nexus_hub.errors import Conflict, InvalidName, InvalidRequest, NameTaken, NotFound
from nexus_hub.models import ServerRef
from tests.fixtures.allowed import add_user, close_hub, grant, store_server
from tests.fixtures.library import Library


async def test_a_group_is_added_changed_and_removed(library: Library) -> None:
    database = library.database
    added = await groups.add(database, "team", ["idp-team"])
    assert [one.name for one in (await groups.list_groups(database)).items] == ["everyone", "team"]
    changed = await groups.change(database, "team", name="crew", claims=None)
    assert (changed.id, changed.name, changed.claims) == (added.id, "crew", ["idp-team"])
    await groups.remove(database, str(added.id))
    with pytest.raises(NotFound):
        await groups.find(database, "crew")


async def test_a_group_that_another_needs_for_a_yes_is_not_removed(library: Library) -> None:
    database = library.database
    await store_server(library.servers, "git")
    for name in ("bosses", "team"):
        await groups.add(database, name)
    await access_grants.grant(database, "team", GrantWish("approve", server="git", approvers="bosses"))
    with pytest.raises(Conflict, match="Members of bosses say yes to calls of: team"):
        await groups.remove(database, "bosses")
    assert (await groups.find(database, "team")).grants[0].approvers == "bosses"
    await access_grants.grant(database, "team", GrantWish("approve", server="git"))
    await groups.remove(database, "bosses")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 65, "5f0c5a2e-0f5e-4e9b-9a57-6b7b2c6b9a11"])
async def test_a_bad_name_is_refused(library: Library, name: str) -> None:
    with pytest.raises(InvalidName):
        await groups.add(library.database, name)


async def test_a_name_is_taken_once(library: Library) -> None:
    await groups.add(library.database, "team")
    with pytest.raises(NameTaken):
        await groups.add(library.database, "team")
    await groups.add(library.database, "crew")
    with pytest.raises(NameTaken):
        await groups.change(library.database, "crew", name="team", claims=None)


async def test_everyone_stays_as_it_is_and_can_be_granted_something(library: Library) -> None:
    database, user = library.database, await add_user(library.database, "ann")
    ref = await store_server(library.servers, "git")
    await close_hub(database)
    for refused in (
        groups.remove(database, "everyone"),
        groups.change(database, "everyone", name="all", claims=None),
        groups.join(database, "everyone", "ann"),
        groups.leave(database, "everyone", "ann"),
    ):
        with pytest.raises(Conflict):
            await refused
    await access_grants.grant(database, "everyone", GrantWish("list", server="git"))
    assert (await read_permissions(database, user.user_id)).of_server(ref) == Permission("list")


async def test_who_joins_may_what_the_group_may_and_who_leaves_may_not(library: Library) -> None:
    database, user = library.database, await add_user(library.database, "ann")
    ref = await store_server(library.servers, "git")
    await close_hub(database)
    await groups.add(database, "team")
    await access_grants.grant(database, "team", GrantWish("call", server="git"))
    assert (await read_permissions(database, user.user_id)).of_server(ref) is None
    await groups.join(database, "team", "ann")
    await groups.join(database, "team", "ann")
    assert (await read_permissions(database, user.user_id)).of_server(ref) == EVERYTHING
    assert [one.name for one in (await groups.find(database, "team")).members] == ["ann"]
    await groups.leave(database, "team", "ann")
    assert (await read_permissions(database, user.user_id)).of_server(ref) is None
    with pytest.raises(NotFound):
        await groups.leave(database, "team", "ann")
    with pytest.raises(NotFound):
        await groups.join(database, "team", str(uuid4()))


async def test_a_tool_is_granted_by_its_servers_name_or_by_the_hubs(library: Library) -> None:
    database, user = library.database, await add_user(library.database, "ann")
    ref = await store_server(library.servers, "git", ["log", "odd name\x00"])
    await close_hub(database)
    await grant(database, user, "list", server="git", tool="odd name\x00")
    await grant(database, user, "call", tool="git__log")
    found = await read_permissions(database, user.user_id)
    assert found.of_tool(ref, "odd name\x00") == Permission("list")
    assert found.of_tool(ref, "log") == EVERYTHING
    assert found.of_server(ref) is None
    (group,) = (await groups.list_groups(database, ref=f"of-{user.user_id}")).items
    assert {one.tool for one in group.grants} == {"log", "odd name\x00"}


async def test_a_further_grant_of_the_same_takes_the_place_of_the_first(library: Library) -> None:
    database, user = library.database, await add_user(library.database, "ann")
    ref = await store_server(library.servers, "git")
    await close_hub(database)
    await groups.add(database, "bosses")
    await grant(database, user, "call", server="git")
    wish = GrantWish("approve", server="git", approvers="bosses", self_approval=True)
    group, made = await access_grants.grant(database, f"of-{user.user_id}", wish)
    assert (made.level, made.server, made.approvers, made.self_approval) == ("approve", "git", "bosses", True)
    found = (await read_permissions(database, user.user_id)).of_server(ref)
    bosses = await groups.find(database, "bosses")
    assert found == Permission("approve", frozenset({bosses.id}), self_approval=True)
    await access_grants.revoke(database, group.name, made.id)
    assert (await read_permissions(database, user.user_id)).of_server(ref) is None
    with pytest.raises(NotFound):
        await access_grants.revoke(database, group.name, made.id)


@pytest.mark.parametrize(
    "wish",
    [
        GrantWish("call"),
        GrantWish("call", server="git", bundle="b"),
        GrantWish("call", server="git", tool=""),
        GrantWish("call", server="git", approvers="everyone"),
        GrantWish("list", server="git", self_approval=True),
    ],
)
async def test_a_grant_of_nothing_or_of_too_much_is_refused(library: Library, wish: GrantWish) -> None:
    with pytest.raises(InvalidRequest):
        await access_grants.grant(library.database, "everyone", wish)


@pytest.mark.parametrize("target", [{"server": "no"}, {"bundle": "no"}, {"tool": "no__no"}])
async def test_a_grant_of_what_is_not_there_is_refused(library: Library, target: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        await access_grants.grant(library.database, "everyone", GrantWish("call", **target))


async def test_what_a_user_may_do_is_explained_page_by_page(library: Library) -> None:
    database, user = library.database, await add_user(library.database, "ann")
    for name in ("git", "notes", "secret"):
        await store_server(library.servers, name)
    await grant(database, user, "list", server="git", tool="add")
    await access_grants.grant(database, "everyone", GrantWish("approve", server="notes"))
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        found = await access_grants.explain(database, "ann", limit=1, cursor=cursor)
        items += found["items"]
        cursor = found["next_cursor"]
        if cursor is None:
            break
    shown = [
        (one["target"], one["name"], one["tool"], one["level"], [by["group"] for by in one["by"]]) for one in items
    ]
    assert shown == [
        ("server", "git", None, "call", []),
        ("server", "notes", None, "approve", ["everyone"]),
        ("server", "secret", None, "call", []),
        ("tool", "git", "add", "list", [f"of-{user.user_id}"]),
    ]
    assert (found["default"], [one["name"] for one in found["groups"]]) == ("open", ["everyone", f"of-{user.user_id}"])


async def test_a_users_own_server_is_the_owners_whatever_is_closed(library: Library) -> None:
    ann = await add_user(library.database, "ann")
    own = await store_server(library.servers, "mine", owner=ann.user_id)
    await close_hub(library.database)
    assert (await read_permissions(library.database, ann.user_id)).of_server(own) == EVERYTHING
    assert not (await read_permissions(library.database, ann.user_id)).sees_server(ServerRef("system", uuid4()))
