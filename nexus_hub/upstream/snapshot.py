"""Snapshot of a server: its self-description and all it offers, read page by page."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp_types import METHOD_NOT_FOUND, REQUEST_TIMEOUT, methods
from pydantic import BaseModel, ValidationError

from nexus_hub.errors import TooLarge
from nexus_hub.escape import escape
from nexus_hub.json_object import count_values, split_texts
from nexus_hub.json_text import write
from nexus_hub.upstream import faults
from nexus_hub.upstream.faults import TransportFailure
from nexus_hub.upstream.listening import is_modern
from nexus_hub.upstream.omissions import Omissions, explain_invalid
from nexus_hub.upstream.wire import exchange

MAX_ITEMS = 5_000
MAX_PAGES = 1_000
MOST_VALUES = 50_000
"""Values of one entry: whoever lists it, or calls its tool, has it read and written again."""
LONGEST_KEY_BYTES = 2000
"""The longest name or URI that the catalog's index takes."""
LONGEST_TEXT_BYTES = 64 * 1024
"""The most that a server may say of itself: its instructions, and its information."""
READ_SECONDS = 60.0
LONGEST_TTL_MS = 1000.0 * 3600 * 24 * 365
SHARE = 0.75
"""The part of the time left that one request may take: a listing that hangs leaves time for the others."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of what is read of one server, in bytes: each definition, and all of them together."""

    definition_bytes: int = 4 * 1024 * 1024
    listing_bytes: int = 8 * 1024 * 1024


DEFAULT_LIMITS = ReadLimits()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server's self-description; tools, resources, templates and prompts are as on the wire.

    `omitted` names what was left out; `unread` are the listings that were not read to their end. `ttl_seconds` is how
    long the server says that its lists are fresh, the shortest of its answers; None if it says nothing of it.
    """

    protocol_version: str
    server_info: dict[str, Any] | None
    instructions: str | None
    capabilities: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    resource_templates: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    omitted: list[dict[str, Any]] = field(default_factory=list)
    unread: frozenset[str] = frozenset()
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Listing:
    """A listing: its method, and the member that tells its entries apart."""

    method: str
    key: str


_LISTINGS = {
    "tools": _Listing("tools/list", "name"),
    "resources": _Listing("resources/list", "uri"),
    "resourceTemplates": _Listing("resources/templates/list", "uriTemplate"),
    "prompts": _Listing("prompts/list", "name"),
}
"""From the member of the answer that holds the entries to how they are asked for."""
_FRAME = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""Members without which no era's result is complete."""


async def take(
    session: ClientSession,
    server: str,
    *,
    seconds: float | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Snapshot:
    """Ask an open session for everything its capabilities announce, within so many seconds.

    An entry or a listing that can't be had is left out and named.

    Raises:
        MCPError: no listing could be read, or the server is gone.
        TooLarge: it lists more than the limits allow.
    """
    await _discover_again(session)
    capabilities = session.server_capabilities or types.ServerCapabilities()
    asked = [
        *(["tools"] if capabilities.tools else []),
        *(["resources", "resourceTemplates"] if capabilities.resources else []),
        *(["prompts"] if capabilities.prompts else []),
    ]
    reader = _Reader(session, server, seconds or READ_SECONDS, limits)
    found = {member: await reader.read(member) for member in asked}
    if asked and reader.unread == set(asked) and not any(found.values()):
        raise reader.failures[0]
    info = _as_on_the_wire(session.server_info) if session.server_info else None
    return Snapshot(
        protocol_version=session.protocol_version or "",
        server_info=reader.bounded("serverInfo", info),
        instructions=reader.bounded("instructions", session.instructions),
        capabilities=_as_on_the_wire(capabilities),
        tools=found.get("tools", []),
        resources=found.get("resources", []),
        resource_templates=found.get("resourceTemplates", []),
        prompts=found.get("prompts", []),
        omitted=reader.omissions.as_list(),
        unread=frozenset(reader.unread),
        ttl_seconds=min(reader.ttls, default=None),
    )


async def _discover_again(session: ClientSession) -> None:
    """Renew the self-description, which may be old where the protocol has no sessions."""
    if session.discover_result is not None and session.protocol_version is not None:
        raw = await session.send_discover(session.protocol_version)
        session.adopt(types.DiscoverResult.model_validate(raw))


class _Reader:
    """Reads the listings of one server, and notes what it leaves out of them."""

    def __init__(self, session: ClientSession, server: str, seconds: float, limits: ReadLimits) -> None:
        self._session = session
        self._server = server
        self._until = asyncio.get_running_loop().time() + seconds
        self._limits = limits
        self._bytes = 0
        self.omissions = Omissions()
        self.unread: set[str] = set()
        self.failures: list[MCPError] = []
        self.ttls: list[float] = []

    async def read(self, member: str) -> list[dict[str, Any]]:
        """Read a listing as far as it can be; none of it when the server announces it and doesn't know the method."""
        entries: dict[str, dict[str, Any]] = {}
        try:
            await self._read_pages(member, entries)
        except MCPError as error:
            failure = TransportFailure.from_rpc(error)
            if failure is not None and (failure.kind in faults.REPEATABLE or failure.kind == "too-large"):
                raise
            if error.code != METHOD_NOT_FOUND:
                self._give_up(member, _explain_failure(error, failure))
                self.failures.append(error)
        return list(entries.values())

    def _give_up(self, member: str, reason: str) -> None:
        self.unread.add(member)
        self.omissions.add(member, reason)

    async def _read_pages(self, member: str, entries: dict[str, dict[str, Any]]) -> None:
        cursors: set[str] = set()
        cursor: str | None = None
        position = 0
        for _ in range(MAX_PAGES):
            page = await self._ask(_LISTINGS[member].method, cursor)
            listed = page.get(member)
            if not isinstance(listed, list):
                fault = "is missing" if listed is None else "must be a list"
                self._give_up(member, f"page {len(cursors) + 1}: {member} {fault}")
                self.failures.append(MCPError(types.INTERNAL_ERROR, f"{member} {fault}"))
                return
            if position + len(listed) > MAX_ITEMS:
                raise TooLarge.listing(f"The server {self._server!r}", MAX_ITEMS, member, "entries in a listing")
            await asyncio.to_thread(self._sift, member, listed, position, entries)
            position += len(listed)
            following = page.get("nextCursor")
            if following is None:
                return
            if not isinstance(following, str) or not following or following in cursors:
                self.omissions.add(member, _explain_cursor(following))
                return
            cursors.add(following)
            cursor = following
        self.omissions.add(member, f"it has more than {MAX_PAGES} pages; the others are left out")

    async def _ask(self, method: str, cursor: str | None) -> dict[str, Any]:
        """Ask for a page, unchecked: the SDK would refuse it for one entry."""
        left = self._until - asyncio.get_running_loop().time()
        params = {} if cursor is None else {"cursor": cursor}
        page = await exchange(self._session, method, params, {"timeout": max(left * SHARE, 0.1)})
        if is_modern(self._session) and (ttl := _read_ttl(page.get("ttlMs"))) is not None:
            self.ttls.append(ttl)
        return page

    def _sift(self, member: str, listed: list[Any], start: int, entries: dict[str, dict[str, Any]]) -> None:
        """Keep the entries that can be kept, once each; in a thread, since there may be megabytes of them.

        Raises:
            TooLarge: all that was read of the server is over the limit.
        """
        key, sound = _LISTINGS[member].key, self._is_sound(member, listed)
        for position, entry in enumerate(listed, start=start):
            size = _count_bytes(entry)
            self._bytes += size
            if self._bytes > self._limits.listing_bytes:
                raise TooLarge.listing(
                    f"The server {self._server!r}", self._limits.listing_bytes, "bytes", "NEXUS_MAX_LISTING_BYTES"
                )
            fault = next(self._faults(member, entry, size, sound), None)
            name = str(entry.get(key)) if isinstance(entry, dict) and key in entry else None
            if fault is None and name is not None and entries.setdefault(name, entry) != entry:
                fault = f"its {key} is that of an earlier one"
            if fault is not None:
                self.omissions.add(f"{member}[{position}]", fault, name)

    def _faults(self, member: str, entry: Any, size: int, sound: bool) -> Iterator[str]:
        if size > self._limits.definition_bytes:
            yield f"it has {size} bytes; at most {self._limits.definition_bytes} are kept (NEXUS_MAX_DEFINITION_BYTES)"
        elif size > MOST_VALUES and _count_values(entry) > MOST_VALUES:
            yield f"it has more than {MOST_VALUES} values"
        if not isinstance(entry, dict):
            yield "it must be an object"
        elif not sound:
            fault = self._invalid(member, [entry])
            if fault is not None:
                yield explain_invalid(fault, skip=2)
        key = _LISTINGS[member].key
        length = len(escape(entry[key]).encode())
        if length > LONGEST_KEY_BYTES:
            yield f"its {key} has {length} bytes; at most {LONGEST_KEY_BYTES} are kept"

    def _is_sound(self, member: str, listed: list[Any]) -> bool:
        return self._invalid(member, listed) is None

    def _invalid(self, member: str, listed: list[Any]) -> ValidationError | None:
        version = self._session.protocol_version or "2025-11-25"
        try:
            methods.validate_server_result(_LISTINGS[member].method, version, _FRAME | {member: listed})
        except ValidationError as error:
            return error
        except KeyError:
            pass
        return None

    def bounded(self, what: str, value: Any) -> Any:
        """Give what a server says of itself, or None if that is too long."""
        size = _count_bytes(value)
        if size <= LONGEST_TEXT_BYTES:
            return value
        self.omissions.add(what, f"it has {size} bytes; at most {LONGEST_TEXT_BYTES} are kept")
        return None


def _read_ttl(value: object) -> float | None:
    """Read a time to live in seconds; 0 says nothing: it is what the SDKs send for servers that name none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 < value <= LONGEST_TTL_MS:
        return None
    return float(value) / 1000


def _explain_cursor(cursor: object) -> str:
    if cursor == "":
        return "the cursor of its last page is empty, so that reading ended there"
    if not isinstance(cursor, str):
        return "the cursor of its next page must be a string; what was read before is kept"
    return "its pages come round in a circle; each was read once"


def _explain_failure(error: MCPError, failure: TransportFailure | None) -> str:
    """Say why a listing could not be read, without a word of the server's."""
    if failure is not None and failure.kind in {"status", "credentials", "limited"}:
        return f"it could not be read (HTTP {failure.detail})"
    if failure is not None or faults.is_closed(error):
        return "it could not be read: the connection was lost"
    if error.code == REQUEST_TIMEOUT:
        return "it could not be read: no answer in time"
    return f"it could not be read (JSON-RPC {error.code})"


def _count_bytes(value: Any) -> int:
    try:
        return len(write(value, ensure_ascii=False, allow_nan=True))
    except UnicodeEncodeError:
        return len(write(value, allow_nan=True))


def _count_values(value: Any) -> int:
    return count_values(split_texts(write(value, allow_nan=True))[::2])


def _as_on_the_wire(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)
