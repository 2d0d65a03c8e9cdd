"""Groups of users: made, listed and removed, and who is in them."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.errors import ForeignKeyViolation, UniqueViolation

from nexus_hub.access import users
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, InvalidName, InvalidRequest, NameTaken, NotFound
from nexus_hub.escape import unescape
from nexus_hub.models import Level
from nexus_hub.paging import Page, check_limit, decode, encode, page

GROUPS = load("groups")
MOST_CLAIMS = 100
LONGEST_CLAIM = 200
LONGEST_REF = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Member:
    """A user who was put into a group by hand."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant to a group: a level on a server, a tool of it by the server's own name, or a bundle."""

    id: UUID
    level: Level
    server: str | None
    tool: str | None
    bundle: str | None
    approvers: str | None
    self_approval: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A group of users; `claims` are the names that an outside issuer has for it."""

    id: UUID
    name: str
    is_everyone: bool
    claims: list[str]
    members: list[Member] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)


async def list_groups(
    database: Database, *, ref: str | None = None, limit: int = 100, cursor: str | None = None
) -> Page[Group]:
    """List a page of groups by name, with their members and grants; or the one of that name or id."""
    limit = check_limit(limit)
    (after_name,) = decode(cursor, (str,))
    async with database.transaction(bounded=True) as transaction:
        ref = ref and ref[:LONGEST_REF]
        rows = await transaction.all(GROUPS["list_groups"], ref=ref, after_name=after_name, limit=limit + 1)
        found = page(rows, limit, lambda row: encode(row["name"]))
        ids = [row["id"] for row in found.items]
        members, grants = await _read_of_each(transaction, "members_of", ids), await read_grants(transaction, ids)
    groups = [
        Group(**row, members=[Member(**one) for one in members[row["id"]]], grants=grants[row["id"]])
        for row in found.items
    ]
    return Page(groups, found.next_cursor)


async def read_grants(transaction: Transaction, group_ids: Sequence[UUID]) -> defaultdict[UUID, list[Grant]]:
    """Read what groups are granted."""
    rows = await _read_of_each(transaction, "grants_of", group_ids)
    grants = defaultdict[UUID, list[Grant]](list)
    for group_id, of_group in rows.items():
        grants[group_id] = [Grant(**one | {"tool": unescape(one["tool"])}) for one in of_group]
    return grants


async def _read_of_each(
    transaction: Transaction, query: str, group_ids: Sequence[UUID]
) -> defaultdict[UUID, list[dict[str, Any]]]:
    found = defaultdict[UUID, list[dict[str, Any]]](list)
    for row in await transaction.all(GROUPS[query], group_ids=list(group_ids)):
        found[row.pop("group_id")].append(row)
    return found


async def find(database: Database, ref: str) -> Group:
    """Find a group by its name or id.

    Raises:
        NotFound: there is none.
    """
    found = (await list_groups(database, ref=ref)).items
    if not found:
        raise NotFound("group", ref)
    return found[0]


async def add(database: Database, name: str, claims: Sequence[str] = ()) -> Group:
    """Add a group.

    Raises:
        InvalidName: 1 to 64 characters of letters, digits and `._@-` are allowed.
        InvalidRequest: too many claims, or one that is too long.
        NameTaken: there is a group of that name.
    """
    _check_name(name)
    try:
        async with database.transaction() as transaction:
            group_id = await transaction.only(GROUPS["add_group"], UUID, name=name, claims=_check_claims(claims))
    except UniqueViolation:
        raise NameTaken("group", name) from None
    return Group(group_id, name, is_everyone=False, claims=_check_claims(claims))


async def change(database: Database, ref: str, *, name: str | None, claims: Sequence[str] | None) -> Group:
    """Change a group's name or its claims; None leaves them as they are.

    Raises:
        NotFound: there is no such group.
        InvalidName, InvalidRequest, NameTaken: see `add`.
        Conflict: it is everyone's.
    """
    group = await find_own(database, ref)
    if name is not None:
        _check_name(name)
    said = None if claims is None else _check_claims(claims)
    try:
        async with database.transaction() as transaction:
            await transaction.run(GROUPS["change_group"], id=group.id, name=name, claims=said)
    except UniqueViolation:
        raise NameTaken("group", str(name)) from None
    return await find(database, str(group.id))


async def remove(database: Database, ref: str) -> Group:
    """Remove a group, with all that it was granted.

    Raises:
        NotFound: there is no such group.
        Conflict: it is everyone's, or its members say yes to calls of another group, which operators alone could then.
    """
    group = await find_own(database, ref)
    async with database.transaction() as transaction:
        if asking := await transaction.all(GROUPS["asking_groups"], str, id=group.id):
            raise Conflict(
                f"Members of {group.name} say yes to calls of: {', '.join(asking)}. Change these grants first "
                "(nexus-hub group grant, with other --approvers)."
            )
        await transaction.run(GROUPS["remove_group"], id=group.id)
    return group


async def join(database: Database, ref: str, user: str) -> None:
    """Put a user into a group, unless it is there.

    Raises:
        NotFound: there is no such group or user.
        Conflict: it is everyone's.
    """
    group, user_id = await find_own(database, ref), await users.find(database, user)
    try:
        async with database.transaction() as transaction:
            await transaction.run(GROUPS["add_member"], group_id=group.id, user_id=user_id)
    except ForeignKeyViolation:
        raise NotFound("user", user) from None


async def leave(database: Database, ref: str, user: str) -> None:
    """Take a user out of a group; who is there by a claim stays.

    Raises:
        NotFound: there is no such group, or the user was not put into it.
        Conflict: it is everyone's.
    """
    group, user_id = await find_own(database, ref), await users.find(database, user)
    async with database.transaction() as transaction:
        if await transaction.one(GROUPS["remove_member"], UUID, group_id=group.id, user_id=user_id) is None:
            raise NotFound(f"member of the group {group.name}", user)


async def find_own(database: Database, ref: str) -> Group:
    """Find a group that operators look after.

    Raises:
        NotFound: there is no such group.
        Conflict: it is everyone's.
    """
    group = await find(database, ref)
    if group.is_everyone:
        raise Conflict(f"The group {group.name} has all users and stays as it is; grant it what all may do.")
    return group


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or users.is_uuid(name):
        rule = "use 1 to 64 letters, digits and ._@- with a letter or digit first, and no uuid"
        raise InvalidName("group", name, rule)


def _check_claims(claims: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(claims))
    if len(found) > MOST_CLAIMS or not all(0 < len(claim) <= LONGEST_CLAIM for claim in found):
        raise InvalidRequest(f"A group has up to {MOST_CLAIMS} claims of 1 to {LONGEST_CLAIM} characters.")
    if any("\x00" in claim for claim in found):
        raise InvalidRequest("A claim holds no U+0000.")
    return found
