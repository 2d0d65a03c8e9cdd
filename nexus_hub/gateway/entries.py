"""Entries of the catalog in memory, as the texts that clients are sent."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from nexus_hub.calls.cache import TtlCache
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import HubError, UpstreamError
from nexus_hub.escape import unescape
from nexus_hub.json_text import read, write
from nexus_hub.models import OPERATOR, BundleCall, Durable, Principal, ServerRef, ServerType

GATEWAY = load("gateway")
FRESH_SECONDS = 60.0
"""The longest that what was read is used without a look at the database, should a notice of a change get lost."""
Kind = Literal["tool", "prompt", "resource", "template"]
KINDS: tuple[Kind, ...] = ("tool", "prompt", "resource", "template")


@dataclass(frozen=True)
class Entry:
    """A tool, prompt, resource or template; `name` is the server's own, `public` the hub's (of a resource its URI)."""

    ref: ServerRef
    server: str
    name: str
    public: str
    text: bytes
    """Its definition as on the wire; that of a tool or prompt without its name."""
    fresh_until: float
    """By this process's monotonic clock."""
    named: bool
    """True if it goes by a name, false if by a URI."""
    is_durable: bool = False
    """True if the operator has its calls made as jobs from their start."""
    by_bundle: BundleCall | None = None
    """The call by a bundle's name that a call of it is, in a bundle's view."""
    kept_back: frozenset[str] = frozenset()
    """The arguments that a bundle fixes or hides."""

    def listed(self, name: str) -> bytes:
        """Give the entry as a list has it, under a name."""
        if not self.named:
            return self.text
        return b'{"name":' + write(name) + (b"," if len(self.text) > 2 else b"") + self.text[1:]

    def tell(self, error: HubError) -> HubError:
        """Give an error of its server as its caller may be told of it: in a bundle without the server's name."""
        if self.by_bundle is None:
            return error
        return UpstreamError(self.server, f"A server of {self.server!r} refused this ({error.code}).")

    @cached_property
    def definition(self) -> Mapping[str, Any]:
        """The definition, read."""
        value: dict[str, Any] = read(self.text)
        return value


@dataclass(frozen=True, slots=True)
class OfferingServer:
    """A server, by the name that leads to it, and what it tells models."""

    server_type: ServerType
    server_ref_id: UUID
    name: str
    instructions: str | None
    enabled: bool = True

    @property
    def ref(self) -> ServerRef:
        """Its reference."""
        return ServerRef(self.server_type, self.server_ref_id)


@dataclass(frozen=True, slots=True)
class DurableCalls:
    """The operator's word on the calls of a server's tool, or of all its tools (no name)."""

    server_ref_id: UUID
    tool_name: str
    durable: Durable


@dataclass(frozen=True)
class Offers:
    """All that the servers of one owner offer, each kind in the order of its public names."""

    servers: Mapping[str, OfferingServer] = field(default_factory=dict)
    entries: Mapping[Kind, tuple[Entry, ...]] = field(default_factory=dict)

    @cached_property
    def by_public(self) -> Mapping[Kind, Mapping[str, Entry]]:
        """The entries by their public names, the first of each."""
        return {kind: {one.public: one for one in reversed(ones)} for kind, ones in self.entries.items()}

    @cached_property
    def by_server(self) -> Mapping[ServerRef, Mapping[Kind, Mapping[str, Entry]]]:
        """The entries of each server by its own names."""
        found: dict[ServerRef, dict[Kind, dict[str, Entry]]] = {}
        for kind, ones in self.entries.items():
            for one in ones:
                found.setdefault(one.ref, {each: {} for each in KINDS})[kind][one.name] = one
        return found


class Catalog:
    """Reads offers at need, keeps them for a moment, and forgets them when they change."""

    def __init__(self, database: Database, *, seconds: float = FRESH_SECONDS) -> None:
        self._database = database
        self._offers = TtlCache(self._read, seconds)

    async def offers(self, owner: UUID | None) -> Offers:
        """Give what the servers of a user offer, or those of the system (None).

        Raises:
            DatabaseUnavailable: it can't be read.
        """
        return await self._offers(owner)

    def forget(self, owner: UUID | None) -> None:
        """Read the offers of a user's servers, or the system's, anew when they are needed next."""
        self._offers.forget(owner)

    def forget_all(self) -> None:
        """Read all offers anew, since changes may have been missed."""
        self._offers.forget_all()

    async def _read(self, owner: UUID | None) -> Offers:
        principal = OPERATOR if owner is None else Principal(owner)
        async with self._database.transaction(principal) as transaction:
            servers = await transaction.all(GATEWAY["offering_servers"], OfferingServer, user_id=owner)
            rows = {kind: await transaction.all(GATEWAY[f"offered_{kind}"], user_id=owner) for kind in KINDS}
        async with self._database.transaction() as transaction:  # policies are the operator's
            policies = await transaction.all(GATEWAY["durable_calls"], DurableCalls, user_id=owner)
        return await asyncio.to_thread(
            _make_offers, servers, rows, policies, self._database.clock.time() - time.monotonic()
        )


def _make_offers(
    servers: list[OfferingServer],
    rows: dict[Kind, list[dict[str, Any]]],
    policies: list[DurableCalls],
    clock_offset: float,
) -> Offers:
    """Make entries of rows; in a thread, since there may be megabytes of them.

    The offset is that of the database's clock from the process's monotonic one, in seconds.
    """
    names = {server.ref: server.name for server in servers}
    said = {(one.server_ref_id, one.tool_name): one.durable for one in policies}
    for tool in rows["tool"] if said else ():
        server = tool["server_ref_id"]
        tool["is_durable"] = said.get((server, tool["name"]), said.get((server, ""))) == "always"
    entries = {kind: tuple(_make_entry(kind, row, names, clock_offset) for row in rows[kind]) for kind in KINDS}
    return Offers({server.name: server for server in servers}, entries)


def _make_entry(kind: Kind, row: dict[str, Any], servers: Mapping[ServerRef, str], clock_offset: float) -> Entry:
    ref = ServerRef(row["server_type"], row["server_ref_id"])
    definition = unescape(row["definition"])
    named = kind in {"tool", "prompt"}
    if named:
        definition = {key: value for key, value in definition.items() if key != "name"}
    return Entry(
        ref=ref,
        server=servers.get(ref, str(ref.server_ref_id)),
        name=unescape(row["name"]),
        public=unescape(row["namespaced"]),
        text=write(definition),
        fresh_until=row["expires_at"].timestamp() - clock_offset,
        named=named,
        is_durable=row.get("is_durable", False),
    )
