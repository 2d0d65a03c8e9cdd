"""Changes of the catalog: noted at each refresh, shown word by word, and approved where tools are held for it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from nexus_hub.catalog.differences import Difference, Effort, list_differences
from nexus_hub.db.pool import Database, Transaction, json_text
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, InvalidRequest
from nexus_hub.escape import escape, unescape
from nexus_hub.models import Principal, ServerRef, ServerType
from nexus_hub.paging import Page, check_limit, decode, encode, page
from nexus_hub.telemetry.text import printable

CHANGES = load("changes")
ChangedKind = Literal["tool", "prompt", "resource"]
Change = Literal["added", "changed", "removed"]
MOST_NOTED = 200
"""Changes of one kind that are kept of one refresh."""
MOST_KEPT, MOST_DAYS, MOST_BYTES = 500, 90, 4 * 1024 * 1024
"""Bounds of the changes that are kept of one server."""
PAGE_BYTES = 1024 * 1024
MOST_TOOLS = 1000
LONGEST_REF = 100
LONGEST_LIST = 200
_Where = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that a refresh found added, changed or removed."""

    kind: ChangedKind
    name: str
    change: Change


@dataclass(frozen=True, slots=True)
class CatalogDifference:
    """A change with its difference, member by member; `hash` is that of the new definition of a tool."""

    id: str
    at: datetime
    server: str
    server_type: ServerType
    server_ref_id: UUID
    kind: ChangedKind
    name: str
    change: Change
    held: bool
    hash: str | None
    difference: list[Difference]


async def note_changes(
    transaction: Transaction, ref: ServerRef, kind: ChangedKind, text: bytes, kept: Sequence[str]
) -> list[EntryChange]:
    """Note what of a kind will differ from what is stored; `kept` are keys that were not read, and stay."""
    return await transaction.all(
        CHANGES["note_changes"],
        EntryChange,
        kind=kind,
        entries=json_text(text),
        kept=[*kept],
        most=MOST_NOTED,
        **_of(ref),
    )


async def close_round(transaction: Transaction, ref: ServerRef, server: str, changes: Sequence[EntryChange]) -> None:
    """Put what a refresh found into the audit, and keep the changes of the server within their bounds."""
    await transaction.run(
        CHANGES["trim_changes"], most=MOST_KEPT, most_days=MOST_DAYS, most_bytes=MOST_BYTES, **_of(ref)
    )
    if changes:
        await transaction.run(
            CHANGES["audit_changes"],
            target=summarize(changes),
            server=printable(server),
            server_ref_id=ref.server_ref_id,
            times=len(changes),
        )


def count_changes(changes: Sequence[EntryChange]) -> dict[str, int]:
    """Count changes by what they are."""
    counts = Counter(one.change for one in changes)
    return {"added": counts["added"], "changed": counts["changed"], "removed": counts["removed"]}


def summarize(changes: Sequence[EntryChange]) -> str:
    """Say in one line what changed: counts and names, nothing of a definition."""
    said = []
    for change in ("changed", "added", "removed"):
        names = [one.name for one in changes if one.change == change]
        if names:
            said.append(f"{len(names)} {change}: {', '.join(printable(name, longest=60) for name in names[:20])}")
    return printable("; ".join(said), longest=LONGEST_LIST)


async def list_changes(
    database: Database,
    principal: Principal,
    *,
    server: str | None = None,
    pending: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[CatalogDifference]:
    """List changes of a principal's servers, an operator's being all: the newest first, or those that wait, by name.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
        TookTooLong: the database took too long for it.
    """
    parts = (str, str, UUID) if pending else (int,)
    after = decode(cursor, parts)
    keys = ("after_server", "after_name", "after_id") if pending else ("after_id",)
    async with database.transaction(bounded=True) as transaction:
        rows = await transaction.all(
            CHANGES["list_held" if pending else "list_changes"],
            all_users=principal.is_operator,
            user_id=principal.user_id,
            server=server and server[:LONGEST_REF],
            limit=check_limit(limit) + 1,
            most_bytes=PAGE_BYTES,
            **dict(zip(keys, after, strict=True)),
        )
    selected = rows[0]["selected"] if rows else 0
    found = page(rows, limit, lambda row: _encode(row, pending=pending), selected=selected)
    items = await asyncio.to_thread(_describe_all, found.items)
    return Page(items, found.next_cursor)


async def approve(database: Database, principal: Principal, ref: ServerRef, seen: Mapping[str, str]) -> None:
    """Approve tools of a server by name, each with the hash of the definition that was seen; all of them or none.

    Raises:
        InvalidRequest: the server has no pins, or nothing is named.
        Conflict: a tool has changed since, or is gone.
    """
    if not 0 < len(seen) <= MOST_TOOLS:
        raise InvalidRequest(f"Name 1 to {MOST_TOOLS} tools to approve.")
    names = [escape(name) for name in seen]
    where: _Where = {"names": names, **_of(ref)}
    async with database.transaction(bounded=True) as transaction:
        if not await transaction.only(CHANGES["has_pins"], bool, **_of(ref)):
            raise InvalidRequest("This server has no pins: nothing of it waits for approval.")
        await hold_server(transaction, ref)
        found = {row["name"]: row["hash"] for row in await transaction.all(CHANGES["lock_tools"], **where)}
        for name, seen_hash in seen.items():
            if found.get(escape(name)) != seen_hash.lower():
                raise Conflict(
                    f"The tool {printable(name)!r} is not any more what was looked at, and nothing was approved. "
                    "Look at the difference again."
                )
        await transaction.run(CHANGES["pin_tools"], user_id=principal.user_id, **where)
        await transaction.run(CHANGES["free_tools"], **where)
        await transaction.run(CHANGES["audit_approvals"], user_id=principal.user_id, **where)


def _describe_all(rows: Sequence[dict[str, Any]]) -> list[CatalogDifference]:
    effort = Effort()
    return [_describe(row, effort) for row in rows]


def _describe(row: dict[str, Any], effort: Effort) -> CatalogDifference:
    old, new = unescape(row["old"]), unescape(row["new"])
    shown = {name: row[name] for name in CatalogDifference.__slots__ if name != "difference"}
    return CatalogDifference(**shown | {"name": unescape(row["name"])}, difference=list_differences(old, new, effort))


def _encode(row: dict[str, Any], *, pending: bool) -> str:
    return encode(row["server"], row["name"], row["id"]) if pending else encode(row["id"])


async def hold_server(transaction: Transaction, ref: ServerRef) -> None:
    """Let nobody else change what a server offers until the transaction ends; before its tools are written to."""
    await transaction.run(CHANGES["hold_server"], **_of(ref))


def _of(ref: ServerRef) -> _Where:
    return {"server_type": ref.server_type, "server_ref_id": ref.server_ref_id}
