"""Writer of the catalog: the offers of servers as last seen, and the claims of those that read them anew."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.catalog.changes import ChangedKind, EntryChange, close_round, note_changes
from nexus_hub.catalog.entries import DueServer
from nexus_hub.catalog.names import make_namespaced
from nexus_hub.db.pool import Database, Transaction, json_parameter, json_text
from nexus_hub.db.queries import load
from nexus_hub.errors import NotFound, QuotaUsedUp, RefreshRunning, TooLarge
from nexus_hub.escape import escape
from nexus_hub.json_text import write
from nexus_hub.models import ServerRef
from nexus_hub.settings import DAY_SECONDS
from nexus_hub.upstream.snapshot import LONGEST_KEY_BYTES, Snapshot

CATALOG = load("catalog")
SHORTEST_FRESH_SECONDS = 60
"""The shortest time to live that a server may ask for, so that none has itself read all the time."""
RETRY_SECONDS = 600
"""The longest that what was read counts as fresh when a part of it could not be read."""
LEASE_SECONDS = 400
"""The time that a refresher holds a server: longer than reading one may take."""


def choose_fresh_seconds(seen: Snapshot, ttl_seconds: float) -> float:
    """Choose how long what was seen counts as fresh: as its server says, within the hub's own bounds."""
    own = ttl_seconds if seen.ttl_seconds is None else max(seen.ttl_seconds, SHORTEST_FRESH_SECONDS)
    return min(own, ttl_seconds, RETRY_SECONDS if seen.unread else ttl_seconds)


async def due(database: Database) -> list[DueServer]:
    """Find the servers that are to be read anew; none that rests after a failure or is being read."""
    async with database.transaction() as transaction:
        return await transaction.all(CATALOG["due_servers"], DueServer)


async def claim_refresh(database: Database, ref: ServerRef) -> UUID:
    """Become the server's only refresher; its entries count as stale from here on.

    Raises:
        NotFound: there is no such server.
        RefreshRunning: somebody else is at it.
    """
    claim = uuid4()
    async with database.transaction() as transaction:
        if not await transaction.run(CATALOG["claim_refresh"], claim=claim, lease_seconds=LEASE_SECONDS, **_where(ref)):
            known = await transaction.one(CATALOG["has_state"], **_where(ref))
            raise RefreshRunning(ref) if known else NotFound("server", ref)
        await transaction.run(CATALOG["mark_stale"], **_where(ref))
    return claim


async def holds_refresh(transaction: Transaction, ref: ServerRef, claim: UUID) -> bool:
    """Tell if the claim still holds; nobody else gets one until the transaction ends."""
    return bool(await transaction.one(CATALOG["holds_refresh"], claim=claim, **_where(ref)))


async def fail_refresh(database: Database, ref: ServerRef, claim: UUID, error_code: str) -> None:
    """Note that a server could not be read: what was stored of it stays, and it rests before the next try."""
    async with database.transaction() as transaction:
        await transaction.run(CATALOG["server_failing"], claim=claim, error_code=error_code, **_where(ref))


async def release_refresh(database: Database, ref: ServerRef, claim: UUID) -> None:
    """Give a claim back without a verdict on the server."""
    async with database.transaction() as transaction:
        await transaction.run(CATALOG["release_refresh"], claim=claim, **_where(ref))


async def store(
    transaction: Transaction,
    ref: ServerRef,
    name: str,
    owner: UUID | None,
    seen: Snapshot,
    ttl_seconds: float = DAY_SECONDS,
) -> list[EntryChange]:
    """Put what was seen in place of what is stored, and set the server's state to ready; gives what has changed.

    Of entries with the same name or URI the first is kept; names over 2,000 bytes can't be indexed and are left out.
    What is stored of a listing that was not read to its end stays beside what was read of it.
    """
    fresh_seconds = choose_fresh_seconds(seen, ttl_seconds)
    changes: list[EntryChange] = []
    expires_at = await transaction.only(CATALOG["expiry"], datetime, ttl_seconds=fresh_seconds)
    for kind, (own, text) in (await asyncio.to_thread(_write_rows, name, seen)).items():
        kept = [
            key
            for member in _MEMBERS[kind]
            if member in seen.unread
            for key in await transaction.all(
                CATALOG[f"keep_{kind}"],
                str,
                expires_at=expires_at,
                templates=member == "resourceTemplates",
                **_where(ref),
            )
        ]
        transaction.note_size(len(text))
        changes += await note_changes(transaction, ref, _ENTRY_KINDS[kind], text, kept)
        await transaction.run(CATALOG[f"drop_{kind}"], keys=own + kept, **_where(ref))
        await transaction.run(
            CATALOG[f"put_{kind}"], entries=json_text(text), user_id=owner, expires_at=expires_at, **_where(ref)
        )
    await transaction.run(
        CATALOG["server_ready"],
        expires_at=expires_at,
        protocol_version=seen.protocol_version,
        server_info=json_parameter(escape(seen.server_info)),
        instructions=escape(seen.instructions),
        omitted=json_parameter(escape(seen.omitted)),
        **_where(ref),
    )
    await close_round(transaction, ref, name, changes)
    return changes


@dataclass(frozen=True, slots=True)
class UserLimits:
    """Bounds of one user's servers, of their tools, and of all that they offer in bytes."""

    servers: int = 100
    tools: int = 10_000
    bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Used:
    servers: int
    tools: int
    bytes: int


async def check_user_limits(transaction: Transaction, owner: UUID, limits: UserLimits) -> None:
    """Check what a user has after a change of this transaction, and hold off other changes until it ends.

    Raises:
        QuotaUsedUp: the user has too many servers or tools.
        TooLarge: what they offer is too much.
    """
    await transaction.run(CATALOG["hold_user_catalog"], user_id=str(owner))
    used = await transaction.only(CATALOG["count_user_catalog"], _Used, user_id=owner)
    if used.servers > limits.servers:
        raise QuotaUsedUp("servers", limits.servers, "NEXUS_MAX_USER_SERVERS")
    if used.tools > limits.tools:
        raise QuotaUsedUp("tools", limits.tools, "NEXUS_MAX_USER_TOOLS")
    if used.bytes > limits.bytes:
        raise TooLarge.listing("All of this user's servers together", limits.bytes, "bytes", "NEXUS_MAX_USER_BYTES")


_ENTRY_KINDS: dict[str, ChangedKind] = {"tools": "tool", "resources": "resource", "prompts": "prompt"}
_MEMBERS = {"tools": ("tools",), "resources": ("resources", "resourceTemplates"), "prompts": ("prompts",)}


def _write_rows(name: str, seen: Snapshot) -> dict[str, tuple[list[str], bytes]]:
    """Write the rows of what was seen, with their keys; in a thread, since there may be megabytes of them."""
    rows = {
        "tools": _distinct(_name_entry(name, tool) for tool in seen.tools),
        "resources": _distinct(_resources(seen)),
        "prompts": _distinct(_name_entry(name, prompt) for prompt in seen.prompts),
    }
    return {kind: ([row["key"] for row in each], write(each)) for kind, each in rows.items()}


def _where(ref: ServerRef) -> dict[str, Any]:
    return {"server_type": ref.server_type, "server_ref_id": ref.server_ref_id}


def _distinct(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if len(entry["key"].encode()) <= LONGEST_KEY_BYTES:
            found.setdefault(entry["key"], entry)
    return list(found.values())


def _name_entry(server: str, definition: dict[str, Any]) -> dict[str, Any]:
    name = definition["name"]
    return {"key": escape(name), "namespaced_name": make_namespaced(server, name), **_describe(definition)}


def _resources(seen: Snapshot) -> Iterable[dict[str, Any]]:
    templates = ((template, template["uriTemplate"], True) for template in seen.resource_templates)
    resources = ((resource, resource["uri"], False) for resource in seen.resources)
    for definition, uri, is_template in (*resources, *templates):
        yield {
            "key": escape(uri),
            "name": escape(definition.get("name")),
            "mime_type": escape(definition.get("mimeType")),
            "is_template": is_template,
            **_describe(definition),
        }


def _describe(definition: dict[str, Any]) -> dict[str, Any]:
    title = definition.get("title") or (definition.get("annotations") or {}).get("title")
    return {
        "title": escape(title),
        "description": escape(definition.get("description")),
        "definition": escape(definition),
    }
