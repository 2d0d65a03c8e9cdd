"""Bundles: named sets of what system servers offer, under names of their own, with arguments fixed or hidden."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from psycopg.errors import UniqueViolation

from nexus_hub.catalog.names import check_server_name, is_plain_name, make_namespaced
from nexus_hub.catalog.read import LONGEST_REF
from nexus_hub.db.pool import Database, Transaction, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.errors import InvalidRequest, NameTaken, NotFound
from nexus_hub.escape import escape, unescape_row
from nexus_hub.models import OPERATOR, Principal, ServerRef

BUNDLES = load("bundles")
ALL = "*"
"""The source of an entry that stands for all of its kind that a server offers."""
MOST_ENTRIES = 1000
OWN_PREFIX = "hub__"
EntryKind = Literal["tool", "prompt", "resource", "template"]
Access = Literal["open", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry as an operator says it: something of a server, and what it is called and said of it in the bundle.

    `source` is the server's own name of a tool or prompt, the URI of a resource or template, or `*` for all of a kind.
    `fixed` arguments go with each call and are not shown; `hidden` ones are neither shown nor sent.
    """

    kind: EntryKind
    server: str
    source: str
    name: str | None = None
    title: str | None = None
    description: str | None = None
    fixed: dict[str, Any] = field(default_factory=dict, repr=False)
    hidden: list[str] = field(default_factory=list)

    @property
    def public(self) -> str:
        """The name by which the bundle's callers know it; of a resource or template the URI."""
        if self.kind in {"resource", "template"}:
            return self.source
        return self.name or make_namespaced(self.server, self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry(NewEntry):
    """An entry of a bundle; its `state` is `missing` while its server does not offer it."""

    id: UUID
    bundle_id: UUID
    server_ref_id: UUID
    state: Literal["ok", "missing"]

    @property
    def ref(self) -> ServerRef:
        """The reference of its server."""
        return ServerRef("system", self.server_ref_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleWords:
    """The name of a bundle, and what is said of it; `access` None is the hub's default."""

    name: str
    title: str | None = None
    instructions: str | None = None
    access: Access | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRow(BundleWords):
    """A bundle without what is in it."""

    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle(BundleRow):
    """A bundle with what is in it, in the operator's order."""

    entries: tuple[BundleEntry, ...] = ()

    def find_entry(self, entry_id: UUID) -> BundleEntry | None:
        """Find an entry by its id."""
        return next((entry for entry in self.entries if entry.id == entry_id), None)

    def stands_for(self, entry: BundleEntry, kind: EntryKind, ref: ServerRef, source: str) -> bool:
        """Tell if an entry stands for something of a server; one for all of a kind leaves out what is named beside."""
        if (entry.kind, entry.ref) != (kind, ref):
            return False
        if entry.source != ALL:
            return entry.source == source
        return not any((one.kind, one.ref, one.source) == (kind, ref, source) for one in self.entries)


@dataclass(frozen=True)
class Bundles:
    """All bundles of the hub, whoever may use them."""

    all: Sequence[Bundle] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Bundle]:
        """The bundles by their names."""
        return {bundle.name: bundle for bundle in self.all}

    @cached_property
    def by_entry(self) -> Mapping[UUID, Bundle]:
        """The bundles by the ids of their entries."""
        return {entry.id: bundle for bundle in self.all for entry in bundle.entries}


async def list_bundles(database: Database, principal: Principal) -> list[BundleRow]:
    """List the bundles that a principal sees, by name."""
    async with database.transaction(principal, bounded=True) as transaction:
        rows = await transaction.all(BUNDLES["list_bundles"], BundleRow, ref=None, user_id=principal.user_id)
    return [unescape_row(row) for row in rows]


async def find_bundle(database: Database, principal: Principal, ref: str) -> BundleRow:
    """Find a bundle by its name or id.

    Raises:
        NotFound: the principal sees no such bundle.
    """
    async with database.transaction(principal) as transaction:
        return await _find(transaction, ref, principal)


async def _find(transaction: Transaction, ref: str, principal: Principal = OPERATOR) -> BundleRow:
    rows = await transaction.all(BUNDLES["list_bundles"], BundleRow, ref=ref[:LONGEST_REF], user_id=principal.user_id)
    if not rows:
        raise NotFound("bundle", ref)
    return unescape_row(min(rows, key=lambda row: row.name != ref))


async def read_bundles(database: Database, bundle_id: UUID | None = None) -> Bundles:
    """Read all bundles with their entries, or one of them, whoever may use it.

    Raises:
        DatabaseUnavailable: they can't be read.
    """
    async with database.transaction(OPERATOR) as transaction:
        return Bundles(await read_stored(transaction, bundle_id))


async def read_stored(transaction: Transaction, bundle_id: UUID | None = None) -> list[Bundle]:
    """Read bundles as `read_bundles` does, in a transaction of the operator."""
    rows = await transaction.all(BUNDLES["list_bundles"], BundleRow, ref=bundle_id and str(bundle_id), user_id=None)
    entries = await transaction.all(BUNDLES["list_entries"], BundleEntry, bundle_id=bundle_id)
    of_bundle: defaultdict[UUID, list[BundleEntry]] = defaultdict(list)
    for entry in entries:
        of_bundle[entry.bundle_id].append(unescape_row(entry))
    return [_make_bundle(row, of_bundle[row.id]) for row in rows]


def _make_bundle(row: BundleRow, entries: Sequence[BundleEntry]) -> Bundle:
    said = {one.name: getattr(row, one.name) for one in fields(row)}
    return unescape_row(Bundle(**said, entries=tuple(entries)))


async def add_bundle(transaction: Transaction, words: BundleWords, entries: Sequence[NewEntry]) -> UUID:
    """Store a new bundle.

    Raises:
        InvalidName, InvalidRequest: it, or one of its entries, can't be like this.
        NameTaken: a bundle or a system server has the name.
    """
    check_bundle(words, entries)
    try:
        bundle_id = await transaction.only(BUNDLES["add_bundle"], UUID, **_columns(words))
    except UniqueViolation as error:
        raise NameTaken(find_taker(error, "bundle"), words.name) from None
    await _put_entries(transaction, bundle_id, entries)
    return bundle_id


async def change_bundle(transaction: Transaction, ref: str, words: BundleWords, entries: Sequence[NewEntry]) -> UUID:
    """Make a bundle what is said now, with all of its entries at once.

    Raises:
        NotFound: there is no such bundle.
        InvalidName, InvalidRequest, NameTaken: see `add_bundle`.
    """
    check_bundle(words, entries)
    bundle = await _find(transaction, ref)
    try:
        await transaction.run(BUNDLES["change_bundle"], id=bundle.id, **_columns(words))
    except UniqueViolation as error:
        raise NameTaken(find_taker(error, "bundle"), words.name) from None
    await _put_entries(transaction, bundle.id, entries)
    return bundle.id


async def remove_bundle(transaction: Transaction, ref: str) -> UUID:
    """Remove a bundle; the jobs that were asked for by its names stay.

    Raises:
        NotFound: there is no such bundle.
    """
    bundle = await _find(transaction, ref)
    await transaction.run(BUNDLES["remove_bundle"], id=bundle.id)
    return bundle.id


def find_taker(error: UniqueViolation, kind: str) -> str:
    """Tell what has a name that servers and bundles share; `kind` if it is another one of the same."""
    return {"server_name_taken": "server", "bundle_name_taken": "bundle"}.get(error.diag.constraint_name or "", kind)


def _columns(words: BundleWords) -> dict[str, Any]:
    return {
        "name": words.name,
        "title": escape(words.title),
        "instructions": escape(words.instructions),
        "access": words.access,
    }


async def _put_entries(transaction: Transaction, bundle_id: UUID, entries: Sequence[NewEntry]) -> None:
    names = sorted({entry.server for entry in entries})
    servers = {row["name"]: row["id"] for row in await transaction.all(BUNDLES["find_servers"], names=names)}
    kept = []
    for position, entry in enumerate(entries):
        if entry.server not in servers:
            raise _refuse(position, f"there is no system server {entry.server[:LONGEST_REF]!r}")
        said = {one.name: escape(getattr(entry, one.name)) for one in fields(NewEntry) if one.name != "server"}
        said |= {"fixed": json_parameter(said["fixed"]), "server_ref_id": servers[entry.server]}
        kept.append(await transaction.only(BUNDLES["put_entry"], UUID, bundle_id=bundle_id, position=position, **said))
    await transaction.run(BUNDLES["remove_other_entries"], bundle_id=bundle_id, ids=kept)


def check_bundle(words: BundleWords, entries: Sequence[NewEntry]) -> None:
    """Check a bundle as far as it can be judged by itself.

    Raises:
        InvalidName, InvalidRequest: see `add_bundle`.
    """
    check_server_name(words.name, "bundle")
    if len(entries) > MOST_ENTRIES:
        raise InvalidRequest(f"A bundle may have at most {MOST_ENTRIES} entries.")
    taken: dict[tuple[str, str], int] = {}
    for position, entry in enumerate(entries):
        if problem := _find_problem(entry):
            raise _refuse(position, problem)
        key = (entry.kind, f"{entry.server} {ALL}" if entry.source == ALL else entry.public)
        if key in taken:
            what = "all of a server are" if entry.source == ALL else f"the {entry.kind} {entry.public!r} is"
            raise _refuse(position, f"{what} there already, as entries[{taken[key]}]; give it another name")
        taken[key] = position


def _find_problem(entry: NewEntry) -> str | None:
    """Say what is wrong with an entry by itself, if anything is."""
    if not entry.source:
        return "its source is empty"
    has_changes = entry.name or entry.title or entry.description or entry.fixed or entry.hidden
    if entry.source == ALL and has_changes:
        return "an entry for all of a server takes them as they are; name the one that is to be changed"
    if entry.kind in {"resource", "template"}:
        return f"a {entry.kind} takes no arguments to fix or hide" if entry.fixed or entry.hidden else None
    if entry.name is not None and (not is_plain_name(entry.name) or entry.name.startswith(OWN_PREFIX)):
        return f"its name must be 1 to 64 letters, digits, '_' and '-', and not begin with {OWN_PREFIX}"
    if entry.kind == "prompt" and any(not isinstance(value, str) for value in entry.fixed.values()):
        return "arguments of a prompt are strings"
    return None


def _refuse(position: int, problem: str) -> InvalidRequest:
    return InvalidRequest(f"entries[{position}]: {problem}.")
