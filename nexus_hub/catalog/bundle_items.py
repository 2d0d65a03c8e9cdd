"""Items of bundles: what a bundle offers of what servers offer, and how that is shown there."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from nexus_hub.catalog.bundles import ALL, Bundle, BundleEntry, EntryKind
from nexus_hub.models import ServerRef

Definition = dict[str, Any]
_RULES = frozenset(
    {
        *("anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
        *("propertyNames", "default", "examples", "const", "enum"),
    }
)
"""Words of a schema for what may go together, or as an example."""


class Item(Protocol):
    """Something that a server offers; `name` is its own name or URI, `public` the hub's."""

    @property
    def ref(self) -> ServerRef: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def public(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Item)


def arrange(bundle: Bundle, kind: EntryKind, offered: Iterable[T]) -> dict[str, tuple[BundleEntry, T]]:
    """Give what a bundle offers of a kind, by its names there.

    What has entries of its own is left out of the one for all of its server. Of a name that there would be twice, since
    a server offers something new, the first counts, in the bundle's order, those with entries of their own first.
    """
    entries = [entry for entry in bundle.entries if entry.kind == kind]
    of_server: dict[ServerRef, dict[str, T]] = {entry.ref: {} for entry in entries}
    for item in offered:
        if item.ref in of_server:
            of_server[item.ref].setdefault(item.name, item)
    found: dict[str, tuple[BundleEntry, T]] = {}
    for entry, item in _pair(entries, of_server):
        renamed = entry.name if kind in {"tool", "prompt"} else None
        found.setdefault(renamed or item.public, (entry, item))
    return found


def _pair(
    entries: list[BundleEntry], of_server: Mapping[ServerRef, Mapping[str, T]]
) -> Iterator[tuple[BundleEntry, T]]:
    named = [entry for entry in entries if entry.source != ALL]
    for entry in named:
        if (item := of_server[entry.ref].get(entry.source)) is not None:
            yield entry, item
    taken = {(entry.ref, entry.source) for entry in named}
    for entry in entries:
        if entry.source == ALL:
            yield from ((entry, item) for item in of_server[entry.ref].values() if (item.ref, item.name) not in taken)


def is_shown_anew(entry: BundleEntry) -> bool:
    """Tell if an entry shows something otherwise than its server does, but for the name of a tool or prompt."""
    renames = entry.name is not None and entry.kind in {"resource", "template"}
    has_words = entry.title is not None or entry.description is not None
    return renames or has_words or bool(entry.fixed or entry.hidden)


def show_anew(entry: BundleEntry, definition: Mapping[str, Any]) -> Definition:
    """Give a definition as the bundle shows it: with its words, and without the arguments that it fixes or hides."""
    shown = dict(definition)
    if entry.kind in {"resource", "template"} and entry.name:
        shown["name"] = entry.name
    if entry.description is not None:
        shown["description"] = entry.description
    if entry.title is not None:
        shown["title"] = entry.title
        if isinstance(hints := shown.get("annotations"), dict) and "title" in hints:
            shown["annotations"] = {**hints, "title": entry.title}
    if kept_back := kept_back_by(entry):
        if entry.kind == "tool" and isinstance(schema := shown.get("inputSchema"), dict):
            shown["inputSchema"] = leave_out(schema, kept_back)
        if entry.kind == "prompt" and isinstance(declared := shown.get("arguments"), list):
            shown["arguments"] = [one for one in declared if not _is_one_of(one, kept_back)]
    return shown


def kept_back_by(entry: BundleEntry) -> frozenset[str]:
    """Give the names of the arguments that callers neither see nor send."""
    return frozenset(entry.fixed) | frozenset(entry.hidden)


def leave_out(schema: Mapping[str, Any], names: frozenset[str]) -> Definition:
    """Leave arguments out of a tool's input schema, at its uppermost level.

    Of rules among several arguments those are left out that speak of one of these: the hub itself keeps to them.
    """
    shown = {word: rule for word, rule in schema.items() if word not in _RULES or not _mentions(rule, names)}
    if isinstance(properties := schema.get("properties"), dict):
        shown["properties"] = {name: value for name, value in properties.items() if name not in names}
    if isinstance(required := schema.get("required"), list):
        shown["required"] = [name for name in required if name not in names]
        if not shown["required"]:
            del shown["required"]
    if isinstance(parts := schema.get("allOf"), list):
        shown["allOf"] = [leave_out(part, names) if isinstance(part, Mapping) else part for part in parts]
    return shown


def _mentions(rule: Any, names: frozenset[str]) -> bool:
    """Tell if a rule of a schema has one of these names in it."""
    left = [rule]
    while left:
        one = left.pop()
        if isinstance(one, str) and one in names:
            return True
        left.extend([*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else ())
    return False


def _is_one_of(declared: Any, names: frozenset[str]) -> bool:
    return isinstance(declared, dict) and declared.get("name") in names
