"""Bundles at addresses of their own: what they offer of the system's servers, as entries that views are made of."""

import asyncio
from dataclasses import replace

from nexus_hub.catalog.bundle_items import arrange, is_shown_anew, kept_back_by, show_anew
from nexus_hub.catalog.bundles import Bundle, BundleEntry
from nexus_hub.catalog.names import make_namespaced
from nexus_hub.gateway.entries import KINDS, Entry, Kind, Offers
from nexus_hub.json_text import write
from nexus_hub.models import BundleCall


class BundleOffers:
    """Offers of bundles, kept as long as neither the bundle nor the catalog is read anew; all callers share them."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Bundle, Offers, Offers]] = {}

    async def find(self, bundle: Bundle, system: Offers) -> Offers:
        """Give what a bundle offers of what the system's servers offer; made in a thread, since that may be much."""
        known = self._made.get(bundle.name)
        if known is not None and known[0] is bundle and known[1] is system:
            return known[2]
        made = await asyncio.to_thread(_make_offers, bundle, system)
        self._made[bundle.name] = bundle, system, made
        return made

    def forget(self) -> None:
        """Keep no offers, since there may be other bundles now."""
        self._made.clear()


def _make_offers(bundle: Bundle, system: Offers) -> Offers:
    return Offers(entries={kind: tuple(_make_entries(bundle, kind, system)) for kind in KINDS})


def _make_entries(bundle: Bundle, kind: Kind, system: Offers) -> list[Entry]:
    found = arrange(bundle, kind, system.entries.get(kind, ()))
    return [_make_entry(bundle, name, *found[name]) for name in sorted(found)]


def _make_entry(bundle: Bundle, name: str, said: BundleEntry, entry: Entry) -> Entry:
    """Make the entry of a bundle; its server is the bundle, to all who see it."""
    called_as = make_namespaced(bundle.name, name) if entry.named else bundle.name
    return replace(
        entry,
        server=bundle.name,
        public=name,
        text=write(show_anew(said, entry.definition)) if is_shown_anew(said) else entry.text,
        by_bundle=BundleCall(said.id, called_as),
        kept_back=kept_back_by(said),
    )
