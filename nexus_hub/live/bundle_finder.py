"""Finder of bundles' tools: listed and searched by their names there, for the API, the command line and `/mcp`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol
from uuid import UUID

from nexus_hub.catalog.brief import Brief, count_bytes, cut_to_line, estimate_tokens
from nexus_hub.catalog.bundle_read import BundleTool, Items, open_bundle, read_items, read_tools_in
from nexus_hub.catalog.bundles import Bundle
from nexus_hub.catalog.documents import describe_parameters
from nexus_hub.catalog.read import LONGEST_QUERY, LONGEST_TEXT, PAGE_BYTES, WeighedPage
from nexus_hub.db.pool import Database
from nexus_hub.live.tool_index import make_index
from nexus_hub.models import Principal
from nexus_hub.paging import Page, check_limit, decode, encode
from nexus_hub.search.document import ToolDocument
from nexus_hub.search.index import ToolIndex

MOST_INDEXES = 20
"""Bundles whose indexes are kept."""


class Described(Protocol):
    """A tool by its definition."""

    @property
    def definition(self) -> Any: ...  # noqa: D102


class BundleFinder:
    """Lists tools of bundles, and searches them in indexes in memory, one of each bundle."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._indexes: dict[UUID, tuple[list[ToolDocument], ToolIndex]] = {}
        self._searching = asyncio.Lock()

    async def find_tools(
        self,
        principal: Principal,
        name: str,
        *,
        query: str | None = None,
        read_only: bool = False,
        limit: int = 100,
        cursor: str | None = None,
        compact: bool = False,
    ) -> Page[Any]:
        """Find a page of the tools of a bundle: in the order of their names, with a query the best first.

        Raises:
            NotFound: the principal sees no such bundle.
            InvalidRequest: a limit outside 1..1000, or a cursor that is none of this list's.
        """
        limit, query = check_limit(limit), (query or "").strip()[:LONGEST_QUERY]
        (after,) = decode(cursor, (str,))
        bundle = await open_bundle(self._database, principal, name)
        items = await read_items(self._database, bundle, "tool")
        names = await self._choose(principal, bundle, items, query, read_only=read_only)
        if after is not None:
            is_ranked = query and after in names
            names = names[names.index(after) + 1 :] if is_ranked else [one for one in names if one > after]
        taken = _count_page(names, items, limit, compact=compact)
        tools = await read_tools_in(self._database, principal, bundle, items, names[:taken])
        next_cursor = encode(names[taken - 1]) if taken < len(names) else None
        shown: list[Any] = [_shorten(one) if compact else one for one in tools]
        if not (query or compact):
            return Page([*shown], next_cursor)
        all_bytes = sum(item.bytes for _, item in items.values())
        shown_bytes = sum(count_bytes(asdict(one) if isinstance(one, Brief) else one.definition) for one in shown)
        return WeighedPage(shown, next_cursor, estimate_tokens(all_bytes, shown_bytes))

    async def rank(self, bundle_id: UUID, tools: Sequence[tuple[str, Described]], query: str, limit: int) -> list[str]:
        """Give the names of the tools that a query speaks of, the best first."""
        async with self._searching:
            return await asyncio.to_thread(self._rank, bundle_id, tools, query, limit)

    async def _choose(
        self, principal: Principal, bundle: Bundle, items: Items, query: str, *, read_only: bool
    ) -> list[str]:
        """Choose the tools that are wanted, by their names in the bundle, in the order of the list."""
        if not (query or read_only):
            return list(items)
        tools = await read_tools_in(self._database, principal, bundle, items, list(items))
        pairs = [(tool.definition["name"], tool) for tool in tools if not read_only or _is_read_only(tool)]
        if not query:
            return [name for name, _ in pairs]
        wanted = {name for name, _ in pairs}
        ranked = await self.rank(bundle.id, [(tool.definition["name"], tool) for tool in tools], query, len(tools))
        return [name for name in ranked if name in wanted]

    def _rank(self, bundle_id: UUID, tools: Sequence[tuple[str, Described]], query: str, limit: int) -> list[str]:
        documents = [_make_document(name, tool.definition) for name, tool in tools]
        held = self._indexes.pop(bundle_id, None)
        known, index = ([], make_index()) if held is None else held
        if known != documents:
            index.replace(bundle_id, documents)
        while len(self._indexes) >= MOST_INDEXES:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[bundle_id] = documents, index
        found = index.search(query, index.select(), limit=max(limit, 1))
        return [document.name for document, _ in found.items]


def _count_page(names: Sequence[str], items: Items, limit: int, *, compact: bool) -> int:
    """Count the names of a page: as many as the limit says, or until they reach 1 MiB of definitions."""
    taken, size = 0, 0
    while taken < min(limit, len(names)) and (compact or size < PAGE_BYTES):
        size += items[names[taken]][1].bytes
        taken += 1
    return taken


def _shorten(tool: BundleTool) -> Brief:
    return Brief(tool.name, cut_to_line(tool.description or tool.title or ""))


def _is_read_only(tool: BundleTool) -> bool:
    hints = tool.definition.get("annotations")
    return isinstance(hints, dict) and hints.get("readOnlyHint") is True


def _make_document(name: str, definition: dict[str, Any]) -> ToolDocument:
    schema = definition.get("inputSchema")
    return ToolDocument(
        key=name,
        name=name,
        own_name=name,
        title=_text(definition.get("title")),
        description=_text(definition.get("description")),
        parameters=tuple(describe_parameters(schema.get("properties") if isinstance(schema, dict) else None)),
        read_only=False,
    )


def _text(value: Any) -> str | None:
    return value[:LONGEST_TEXT] if isinstance(value, str) else None
