"""Servers of an MCP client's file, registered one by one: what can't be had holds up no other."""

import asyncio
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from nexus_hub.catalog.names import make_server_names
from nexus_hub.errors import DatabaseUnavailable, HubError, InvalidConfig, TookTooLong
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream import mcp_json

MOST_ENTRIES = 50


@dataclass(frozen=True, slots=True)
class ImportedServer:
    """Outcome of an entry of the file; a refused one has the reason in plain words, and its code."""

    name: str
    entry: str
    outcome: Literal["registered", "would-register", "refused"]
    error: str | None = None
    code: str | None = None
    line: int | None = None
    """The line of the file that the error is about."""
    enabled: bool = True
    """False if it comes from a registry: it is stored and not contacted, until somebody enables it."""


async def import_servers(servers: Servers, text: str, owner: UUID | None, *, dry_run: bool) -> list[ImportedServer]:
    """Register the servers of a file in its order; with `dry_run` only say what would be refused before they are tried.

    References to variables are not replaced: those of this process are nobody else's.

    Raises:
        InvalidConfig: the file as a whole can't be read, or has too many entries.
        DatabaseUnavailable, TookTooLong: the database did not answer; what was registered before stays.
    """
    entries = await asyncio.to_thread(mcp_json.parse, text, {}, most=MOST_ENTRIES)
    names = make_server_names([entry.name for entry in entries], {})
    return [await _import_one(servers, entry, name, owner, dry_run) for entry, name in zip(entries, names, strict=True)]


async def _import_one(
    servers: Servers, entry: mcp_json.FileEntry, name: str, owner: UUID | None, dry_run: bool
) -> ImportedServer:
    if entry.config is None:
        problem, code = (entry.problem, InvalidConfig.code) if entry.problem else ("The file disables it.", "disabled")
        return ImportedServer(name, entry.name, "refused", problem, code, entry.line)
    try:
        if dry_run:
            await servers.check(name, entry.config, owner=owner)
            return ImportedServer(name, entry.name, "would-register", enabled=entry.enabled)
        await servers.register(name, entry.config, owner=owner, enabled=entry.enabled)
    except (DatabaseUnavailable, TookTooLong):
        raise
    except HubError as error:
        return ImportedServer(name, entry.name, "refused", error.message, error.code)
    return ImportedServer(name, entry.name, "registered", enabled=entry.enabled)
