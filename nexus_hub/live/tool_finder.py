"""Finder: the one way in which tools are listed and searched, for the API, the command line, the console and `/mcp`."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from nexus_hub.access.permissions import Permissions
from nexus_hub.calls.cache import TtlCache
from nexus_hub.catalog import read
from nexus_hub.catalog.brief import Brief, cut_to_line
from nexus_hub.catalog.documents import OfferedTools, Owner
from nexus_hub.catalog.read import LONGEST_QUERY, MOST_RANKED, Entry, ToolFilters
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest
from nexus_hub.live.bundle_finder import BundleFinder
from nexus_hub.live.tool_index import LiveIndex
from nexus_hub.live.tool_sight import Offerer, make_sight
from nexus_hub.models import Principal
from nexus_hub.paging import Page, check_limit, decode, encode
from nexus_hub.search.document import Filters, ToolDocument

Hit = tuple[ToolDocument, float]
_MARK = "in memory"
"""Begins the cursors of searches in memory: the database's own search has another order."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The last tool of a page, which the next one goes on after, and its place among all."""

    place: int
    key: UUID


@dataclass(frozen=True)
class ToolFinder:
    """Lists tools by the database, and searches them in memory; as long as nothing is there, by the database too."""

    database: Database
    permissions: TtlCache[UUID | None, Permissions]
    index: LiveIndex
    bundles: BundleFinder

    async def find_tools(
        self,
        principal: Principal,
        filters: ToolFilters,
        *,
        query: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        compact: bool = False,
    ) -> Page[Any]:
        """Find a page of the tools that a principal sees: in the order of their names, with a query the best first.

        A page ends after 1 MiB of definitions at the latest, and a search after its best 500 tools.

        Raises:
            NotFound: the principal sees no such bundle.
            InvalidRequest: a limit outside 1..1000, a cursor that is none of this list's, or filters that can't meet.
            TookTooLong, DatabaseUnavailable: the database took too long for it, or can't be reached.
        """
        if filters.bundle is not None:
            _refuse_both(filters)
            return await self.bundles.find_tools(
                principal,
                filters.bundle,
                query=query,
                read_only=filters.read_only,
                limit=limit,
                cursor=cursor,
                compact=compact,
            )
        query = (query or "").strip()[:LONGEST_QUERY]
        if "\0" in query:  # as the database says of it, which a search in memory does not always ask
            raise InvalidRequest("The query holds U+0000, which is no text.")
        place = _read_place(cursor) if query else None
        if query and (cursor is None or place) and await self.index.include(_find_owner(principal, filters)):
            return await self._search(principal, filters, query, check_limit(limit), place, compact=compact)
        if place:
            raise InvalidRequest("The hub has just started and can't go on with this search; begin it anew.")
        return await read.list_tools(
            self.database, principal, filters, query=query, limit=limit, cursor=cursor, compact=compact
        )

    async def _search(
        self, principal: Principal, filters: ToolFilters, query: str, limit: int, place: _Place | None, *, compact: bool
    ) -> Page[Entry]:
        permissions = await self.permissions(principal.user_id)
        sight = make_sight(principal, permissions, self.index.offered, with_own=filters.own)
        wanted = Filters(await self._choose_groups(principal, filters), read_only=filters.read_only or None)
        found = await self.index.search(query, sight, MOST_RANKED if place else min(limit, MOST_RANKED), wanted)
        begin = _find_begin(found.items, place)
        hits, total = found.items[begin : begin + limit], min(found.total, MOST_RANKED)
        last = begin + len(hits)
        if compact:  # which needs no definition, and so no way to the database
            cursor = _write_place(last - 1, found.items[last - 1]) if last < total and hits else None
            return read.make_brief_page(map(_shorten, hits), cursor, await self.index.count_bytes(sight))
        ids = [_id_of(hit) for hit in hits]
        rows = await read.read_tools(self.database, principal, ids, own=filters.own)
        if rows and len(rows) < rows[0]["selected"]:
            last = begin + ids.index(rows[-1]["id"]) + 1
        cursor = _write_place(last - 1, found.items[last - 1]) if last < total and hits else None
        return read.make_tool_page(rows, cursor, await self.index.count_bytes(sight), compact=False)

    async def _choose_groups(self, principal: Principal, filters: ToolFilters) -> frozenset[Offerer] | None:
        """Choose the servers whose tools are wanted; None for all."""
        if filters.server is None and filters.tag is None:
            return None
        tagged = None if filters.tag is None else {*await read.find_tagged(self.database, principal, filters)}
        return frozenset(
            Offerer(one.ref, one.owner)
            for one in self.index.offered.values()
            if (tagged is None or one.ref.server_ref_id in tagged) and _is_meant(filters.server, one)
        )


def _refuse_both(filters: ToolFilters) -> None:
    if filters.server is not None or filters.tag is not None:
        raise InvalidRequest("A bundle's tools are no server's and have no tags; give bundle without these.")


def _find_owner(principal: Principal, filters: ToolFilters) -> Owner:
    """Find whose servers are searched beside the system's."""
    if not filters.own:
        return None
    return "all" if principal.is_operator else principal.user_id


def _is_meant(server: str | None, one: OfferedTools) -> bool:
    return server is None or server == one.name or server.lower() == str(one.ref.server_ref_id)


def _read_place(cursor: str | None) -> _Place | None:
    """Read a cursor; None if it is none of a search in memory."""
    try:
        mark, place, key = decode(cursor, (str, int, UUID))
    except InvalidRequest:
        return None
    return _Place(place, key) if mark == _MARK and 0 <= place < MOST_RANKED else None


def _write_place(place: int, hit: Hit) -> str:
    return encode(_MARK, place, _id_of(hit))


def _shorten(hit: Hit) -> Brief:
    tool, _ = hit
    return Brief(tool.name, cut_to_line(tool.description or tool.title or ""))


def _id_of(hit: Hit) -> UUID:
    return cast("UUID", hit[0].key)


def _find_begin(hits: list[Hit], place: _Place | None) -> int:
    """Find where a page begins: after the last tool of the one before, or if that is gone, where it was."""
    if place is None:
        return 0
    keys = [_id_of(hit) for hit in hits]
    if place.key in keys:
        return keys.index(place.key) + 1
    return place.place
