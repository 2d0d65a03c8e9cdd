"""Views: the part of the catalog that one caller may list and call at one address."""

import operator
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Literal
from uuid import UUID

from nexus_hub.access.permissions import Permission, Permissions, require_call
from nexus_hub.calls.cache import TtlCache
from nexus_hub.catalog.bundles import Bundle, Bundles
from nexus_hub.catalog.uris import Located, ResourceIndex
from nexus_hub.errors import NotFound, NotOffered
from nexus_hub.gateway.bundle_offers import BundleOffers
from nexus_hub.gateway.entries import Catalog, Entry, Kind, OfferingServer, Offers
from nexus_hub.gateway.places import CallPlace
from nexus_hub.models import Principal

Mode = Literal["all", "search"]
OWN_PREFIX = "hub__"
"""The beginning of the names of the hub's own tools; no server's tool goes by one."""
NOTHING = Offers()
_MOST_VIEWS = 200


@dataclass(frozen=True)
class View:
    """Entries by the names that a caller knows them by: namespaced, or a single server's own ones.

    What it does not give can neither be listed nor called: a user sees of the system's servers what the permissions
    say, and the user's own; the operator the system's. A user's own entry hides the system's of the same name; nothing
    hides the hub's own tools.
    """

    principal: Principal
    system: Offers
    own: Offers
    server: OfferingServer | None = None
    mode: Mode = "all"
    permissions: Permissions = field(kw_only=True)
    bundle: Bundle | None = None
    """The bundle that it is of; its entries stand in place of the system's."""

    @cached_property
    def _entries(self) -> dict[Kind, dict[str, Entry]]:
        return {}

    def entries(self, kind: Kind) -> dict[str, Entry]:
        """Give all entries of a kind by the caller's names, in the order of these."""
        if kind not in self._entries:
            found = dict(self._select(kind))
            self._entries[kind] = {name: found[name] for name in sorted(found)}
        return self._entries[kind]

    def find(self, kind: Kind, name: str) -> Entry | None:
        """Find the entry of a name; None if the caller may not call any such."""
        if name.startswith(OWN_PREFIX) and kind == "tool":
            return None
        if self.server is not None:
            return self._of_server(kind).get(name)
        found = self.own.by_public.get(kind, {}).get(name)
        return found or self._if_seen(kind, self.system.by_public.get(kind, {}).get(name))

    def all_of(self, kind: Kind) -> Iterator[Entry]:
        """Give each entry of a kind, with those that share a name or URI, the user's own first."""
        if self.server is not None:
            return iter(self._of_server(kind).values())
        return chain(self.own.entries.get(kind, ()), self._seen(kind, self.system.entries.get(kind, ())))

    def locate(self, uri: str, *, is_template: bool = False) -> Located[Entry]:
        """Find the server of a resource, by its URI or by a template that it matches; or that of a template.

        At the address of one server all else is that server's too: it need not list all that it has.

        Raises:
            NotFound, Conflict: no server, or several, offer it.
        """
        try:
            return self._resources.find_template(uri) if is_template else self._resources.find(uri)
        except NotFound:
            if self.server is None or self.permissions.of_server(self.server.ref) is None:
                raise
        server = self.server
        return Located(Entry(server.ref, server.name, uri, uri, b"{}", time.monotonic(), named=False), uri)

    def permission(self, kind: Kind, entry: Entry) -> Permission | None:
        """Give what the caller may do with an entry; None if it is not seen."""
        if self.bundle is not None:
            return self.permissions.of_bundle(self.bundle.id)
        return self.permissions.of(entry.ref, entry.name if kind == "tool" else None)

    @property
    def place(self) -> CallPlace:
        """The jobs that are seen at its address."""
        if self.bundle is not None:
            return CallPlace(bundle=self.bundle.name)
        return CallPlace() if self.server is None else CallPlace(self.server.ref)

    def require(self, kind: Kind, entry: Entry, name: str) -> Permission:
        """Give what the caller may do with an entry, which goes by that name, if that is to call it.

        Raises:
            NotFound, NotAllowed: the caller does not see it, or nothing more.
        """
        return require_call(self.permission(kind, entry), kind, name)

    @cached_property
    def servers(self) -> Mapping[str, OfferingServer]:
        """The servers that the caller sees, by name; a user's own hides the system's of the same name."""
        seen = {name: one for name, one in self.system.servers.items() if self.permissions.sees_server(one.ref)}
        return {name: one for name, one in {**seen, **self.own.servers}.items() if one.enabled}

    @cached_property
    def _resources(self) -> ResourceIndex[Entry]:
        return ResourceIndex(self.all_of("resource"), self.all_of("template"))

    def _select(self, kind: Kind) -> Iterator[tuple[str, Entry]]:
        if self.server is not None:
            pairs: Iterator[tuple[str, Entry]] = iter(self._of_server(kind).items())
        else:
            system, own = self.system.by_public.get(kind, {}), self.own.by_public.get(kind, {})
            pairs = chain(((entry.public, entry) for entry in self._seen(kind, system.values())), own.items())
        return (pair for pair in pairs if kind != "tool" or not pair[0].startswith(OWN_PREFIX))

    def _of_server(self, kind: Kind) -> Mapping[str, Entry]:
        for offers in (self.own, self.system):
            if self.server is not None and self.server.ref in offers.by_server:
                entries = offers.by_server[self.server.ref][kind]
                return {entry.name: entry for entry in self._seen(kind, entries.values())}
        return {}

    def _seen(self, kind: Kind, entries: Iterable[Entry]) -> Iterator[Entry]:
        return (entry for entry in entries if self.permission(kind, entry) is not None)

    def _if_seen(self, kind: Kind, entry: Entry | None) -> Entry | None:
        return None if entry is None or self.permission(kind, entry) is None else entry


class Views:
    """Makes the views of callers; those of the same catalog, caller and address share what they have sorted."""

    def __init__(
        self, catalog: Catalog, permissions: TtlCache[UUID | None, Permissions], bundles: TtlCache[None, Bundles]
    ) -> None:
        self._catalog = catalog
        self._permissions = permissions
        self._bundles = bundles
        self._bundle_offers = BundleOffers()
        self._made: dict[tuple[Principal, str | None, Mode], tuple[tuple[object, ...], View]] = {}

    def forget(self) -> None:
        """Keep no view, and so no catalog as it was before."""
        self._made.clear()
        self._bundle_offers.forget()

    async def view(self, principal: Principal, server: str | None = None, mode: Mode = "all") -> View:
        """Give a caller's view of all servers, or of the server or bundle of that name.

        Raises:
            NotFound: the caller sees no such server or bundle.
            NotOffered: the server is switched off.
            DatabaseUnavailable: the catalog can't be read.
        """
        system = await self._catalog.offers(None)
        own = NOTHING if principal.is_operator else await self._catalog.offers(principal.user_id)
        permissions = await self._permissions(principal.user_id)
        bundle = None if server is None else (await self._bundles(None)).by_name.get(server)
        key, parts = (principal, server, mode), (system, own, permissions, bundle)
        made_of, view = self._made.get(key, ((None,) * len(parts), None))
        if view is not None and all(map(operator.is_, made_of, parts)):
            return view
        view = View(principal, system, own, mode=mode, permissions=permissions)
        if bundle is not None and server not in own.servers and permissions.of_bundle(bundle.id) is not None:
            offers = await self._bundle_offers.find(bundle, system)
            view = replace(view, system=offers, own=NOTHING, bundle=bundle)
        elif server is not None:
            view = replace(view, server=_find_server(view, server))
        if len(self._made) >= _MOST_VIEWS:
            del self._made[next(iter(self._made))]
        self._made[key] = parts, view
        return view


def _find_server(view: View, name: str) -> OfferingServer:
    """Find the server of that name; who sees only tools of it is not told what it says of itself."""
    server = view.own.servers.get(name) or view.system.servers.get(name)
    if server is None or not view.permissions.sees_server(server.ref):
        raise NotFound("server", name)
    if not server.enabled:
        raise NotOffered.server(name)
    return server if view.permissions.of_server(server.ref) else replace(server, instructions=None)
