"""Reader of bundles: what their names, `<bundle>__<name>`, stand for, and their tools as the API lists them."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.access.permissions import read_permissions, require_call
from nexus_hub.catalog.bundle_items import arrange, is_shown_anew, show_anew
from nexus_hub.catalog.bundles import BUNDLES, Bundle, BundleEntry, EntryKind, find_bundle, read_bundles
from nexus_hub.catalog.entries import ToolEntry
from nexus_hub.catalog.names import make_namespaced
from nexus_hub.catalog.read import find_own
from nexus_hub.catalog.uris import ResourceIndex
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound
from nexus_hub.escape import escape, unescape_row
from nexus_hub.models import OPERATOR, BundleCall, Principal, ServerRef, ServerType

_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class BundleItem:
    """Something that a bundle's server offers; `server` is the bundle, to all who see it."""

    server_ref_id: UUID
    name: str
    public: str
    server: str
    bytes: int

    @property
    def ref(self) -> ServerRef:
        """The reference of its server."""
        return ServerRef("system", self.server_ref_id)


Items = dict[str, tuple[BundleEntry, BundleItem]]


@dataclass(frozen=True, slots=True)
class InBundle:
    """A name of a bundle that was found: the entry, the server's own name and definition, as the bundle shows it."""

    call: BundleCall
    entry: BundleEntry
    ref: ServerRef
    name: str
    definition: dict[str, Any]


async def open_bundle(database: Database, principal: Principal, ref: str) -> Bundle:
    """Read a bundle that a principal sees, with what is in it.

    Raises:
        NotFound: the principal sees no such bundle.
    """
    row = await find_bundle(database, principal, ref)
    bundle = (await read_bundles(database, row.id)).by_name.get(row.name)
    if bundle is None:
        raise NotFound("bundle", ref)
    return bundle


async def read_items(database: Database, bundle: Bundle, kind: EntryKind) -> Items:
    """Read what a bundle offers of a kind, by its names there in their order."""
    servers = list({entry.server_ref_id for entry in bundle.entries if entry.kind == kind})
    async with database.transaction(OPERATOR) as transaction:
        rows = await transaction.all(BUNDLES[f"items_{kind}"], BundleItem, servers=servers, bundle=bundle.name)
    return await asyncio.to_thread(_arrange, bundle, kind, rows)  # a server may offer thousands


def _arrange(bundle: Bundle, kind: EntryKind, rows: list[BundleItem]) -> Items:
    found = arrange(bundle, kind, map(unescape_row, rows))
    return {name: found[name] for name in sorted(found)}


async def find_in_bundle(database: Database, principal: Principal, kind: EntryKind, called_as: str) -> InBundle:
    """Find the tool or prompt that `<bundle>__<name>` stands for, to be called.

    Raises:
        NotFound: the principal sees no such bundle, or there is nothing of that name in it.
        NotAllowed: the principal may see it, and not call it.
    """
    bundle = await _open_for(database, principal, kind, called_as)
    items = await read_items(database, bundle, kind)
    found = next((item for name, item in items.items() if make_namespaced(bundle.name, name) == called_as), None)
    if found is None:
        raise NotFound(kind, called_as)
    await _require(database, principal, bundle, kind, called_as)
    return await _read_definition(database, kind, called_as, *found)


async def find_of_entry(
    database: Database, principal: Principal, kind: EntryKind, call: BundleCall, own_name: str
) -> InBundle:
    """Find what a job called by a bundle's name, by the bundle's name for it now.

    Raises:
        NotFound, NotAllowed: see `find_in_bundle`; and also if something else goes by it now.
    """
    bundle = (await read_bundles(database)).by_entry.get(call.entry_id)
    for name, (entry, item) in (await read_items(database, bundle, kind)).items() if bundle else ():
        if bundle is not None and (entry.id, item.name) == (call.entry_id, own_name):
            return await find_in_bundle(database, principal, kind, make_namespaced(bundle.name, name))
    raise NotFound(kind, call.called_as)


async def find_resource_in_bundle(database: Database, principal: Principal, name: str, uri: str) -> InBundle:
    """Find the resource of a bundle that a URI stands for, to be read.

    Raises:
        NotFound, NotAllowed: see `find_in_bundle`.
        Conflict: several of its servers offer it by a template.
    """
    bundle = await open_bundle(database, principal, name)
    found = [await read_items(database, bundle, "resource"), await read_items(database, bundle, "template")]
    index = ResourceIndex(*([item for _, item in items.values()] for items in found))
    located = index.find(uri)
    entry = next(entry for items in found for entry, item in items.values() if item is located.entry)
    await _require(database, principal, bundle, "resource", uri)
    return InBundle(BundleCall(entry.id, bundle.name), entry, entry.ref, located.uri, {})


async def _open_for(database: Database, principal: Principal, kind: EntryKind, called_as: str) -> Bundle:
    try:
        return await open_bundle(database, principal, called_as.partition(_SEPARATOR)[0])
    except NotFound:
        raise NotFound(kind, called_as) from None


async def _require(database: Database, principal: Principal, bundle: Bundle, kind: str, name: str) -> None:
    permissions = await read_permissions(database, principal.user_id)
    require_call(permissions.of_bundle(bundle.id), kind, name)


async def _read_definition(
    database: Database, kind: EntryKind, called_as: str, entry: BundleEntry, item: BundleItem
) -> InBundle:
    read = await find_own(database, OPERATOR, "tool" if kind == "tool" else "prompt", item.ref, item.name)
    if read is None:
        raise NotFound(kind, called_as)
    return InBundle(BundleCall(entry.id, called_as), entry, item.ref, item.name, show_anew(entry, read.definition))


@dataclass(frozen=True, slots=True)
class BundleTool:
    """A tool of a bundle, by `<bundle>__<name>`; for users `tool_name` is the name in it, and no server is named."""

    id: UUID
    name: str
    title: str | None
    description: str | None
    server_type: ServerType | None
    server_ref_id: UUID | None
    tool_name: str
    definition: dict[str, Any]
    expires_at: datetime
    stale: bool
    bundle: str


async def show_in_bundle(database: Database, principal: Principal, called_as: str) -> BundleTool:
    """Show a tool by its name, `<bundle>__<name>`.

    Raises:
        NotFound: the principal sees no such bundle, or there is nothing of that name in it.
    """
    bundle = await _open_for(database, principal, "tool", called_as)
    items = await read_items(database, bundle, "tool")
    names = [name for name in items if make_namespaced(bundle.name, name) == called_as]
    tools = await read_tools_in(database, principal, bundle, items, names)
    if not tools:
        raise NotFound("tool", called_as)
    return tools[0]


async def read_tools_in(
    database: Database, principal: Principal, bundle: Bundle, items: Items, names: Sequence[str]
) -> list[BundleTool]:
    """Read a bundle's tools of these names, as far as they are still offered, in this order."""
    wanted = [items[name][1] for name in names]
    async with database.transaction(OPERATOR) as transaction:
        rows = await transaction.all(
            BUNDLES["tools_of_items"],
            ToolEntry,
            servers=[item.server_ref_id for item in wanted],
            names=[escape(item.name) for item in wanted],
        )
    known = {(row.server_ref_id, row.tool_name): row for row in map(unescape_row, rows)}
    pairs = [(name, items[name][0], known.get((items[name][1].server_ref_id, items[name][1].name))) for name in names]
    return [_show_tool(principal, bundle, name, entry, tool) for name, entry, tool in pairs if tool is not None]


def _show_tool(principal: Principal, bundle: Bundle, name: str, entry: BundleEntry, tool: ToolEntry) -> BundleTool:
    shown = BundleTool(**asdict(tool), bundle=bundle.name)
    shown = replace(shown, name=make_namespaced(bundle.name, name))
    if is_shown_anew(entry):
        shown = replace(
            shown,
            title=entry.title if entry.title is not None else tool.title,
            description=entry.description if entry.description is not None else tool.description,
            definition=show_anew(entry, tool.definition),
        )
    definition = {**shown.definition, "name": name}
    if principal.is_operator:
        return replace(shown, definition=definition)
    return replace(shown, definition=definition, tool_name=name, server_type=None, server_ref_id=None)
