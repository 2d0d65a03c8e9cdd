"""Differences of configurations, object by object and member by member; no secret is in what is shown of them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, SecretStr

from nexus_hub.configuration.schema import (
    BundlePart,
    Configuration,
    EntryPart,
    GrantPart,
    Section,
    ServerPart,
    write_duration,
)
from nexus_hub.configuration.secret_values import is_secret
from nexus_hub.upstream.config import OAuthLogin
from nexus_hub.upstream.display import describe_endpoint

SECTIONS = ("settings", "servers", "bundles", "groups")
Way = tuple[str, ...]
Members = dict[Way, Any]
Kind = Literal["added", "changed", "removed"]
_SETS = frozenset({"tags", "claims", "members", "hidden"})
"""Lists whose order says nothing."""
CONNECTION = frozenset({"url", "headers", "login", "credentials", "command", "args", "env", "connect_seconds"})
"""Members of a server that are sealed."""
ORDER: Way = ("order of entries",)


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A change of one member; of a secret neither value is told."""

    path: Way
    change: Kind
    secret: bool = False
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A change of a server, bundle, group, or of the settings, whose name is empty."""

    section: str
    name: str
    change: Kind
    members: tuple[MemberChange, ...] = ()


def list_objects(configuration: Configuration) -> dict[tuple[str, str], Section]:
    """Give all objects of a configuration by section and name."""
    found: dict[tuple[str, str], Section] = {}
    for section in SECTIONS:
        said = getattr(configuration, section)
        if isinstance(said, Section):
            found[section, ""] = said
        elif said is not None:
            found |= {(section, name): one for name, one in said.items()}
    return found


def list_members(part: Section) -> Members:
    """Give the members of an object that are not as they are by default, each with its way."""
    return dict(_walk(part, ()))


def _walk(value: Any, way: Way) -> Iterator[tuple[Way, Any]]:
    match value:
        case BundlePart():
            yield from _walk_bundle(value)
        case GrantPart():
            yield from _walk_fields(value, way, {"server", "tool", "bundle"})
        case EntryPart():
            yield way, True
            yield from _walk_fields(value, way, {"kind", "server", "source", "name", "fixed"})
            yield from (((*way, "fixed", name), argument) for name, argument in value.fixed.items())
        case BaseModel():
            yield from _walk_fields(value, way, set())
        case dict():
            for name, member in value.items():
                yield from _walk(member, (*way, name))
        case list() | tuple() if way[-1:] == ("grants",):
            yield from _walk({grant.target: grant for grant in value}, way)
        case list() | tuple() if way and way[-1] in _SETS:
            yield from (((*way, item), True) for item in value)
        case list() | tuple():
            yield from (((*way, str(position)), item) for position, item in enumerate(value))
        case _:
            yield way, value


def _walk_bundle(bundle: BundlePart) -> Iterator[tuple[Way, Any]]:
    entries = {_name_entry(entry): entry for entry in bundle.entries}
    yield from _walk_fields(bundle, (), {"entries"})
    yield from _walk(entries, ("entries",))
    if len(entries) > 1:
        yield ORDER, list(entries)


def _walk_fields(part: BaseModel, way: Way, left_out: set[str]) -> Iterator[tuple[Way, Any]]:
    for name, about in type(part).model_fields.items():
        member = getattr(part, name)
        if name not in left_out and (about.is_required() or member != about.get_default(call_default_factory=True)):
            yield from _walk(member, (*way, name))


def _name_entry(entry: EntryPart) -> str:
    alias = f" as {entry.name}" if entry.name is not None else ""
    return f"{entry.kind} {entry.server} {entry.source}{alias}"


def compare(old: Configuration, new: Configuration) -> list[ObjectChange]:
    """Compare two configurations; what is in one of them only was added or removed."""
    before, after = list_objects(old), list_objects(new)
    keys = sorted(before.keys() | after.keys(), key=lambda key: (SECTIONS.index(key[0]), key[1]))
    changes = (_compare_objects(key, before.get(key), after.get(key)) for key in keys)
    return [change for change in changes if change is not None]


def _compare_objects(key: tuple[str, str], old: Section | None, new: Section | None) -> ObjectChange | None:
    if isinstance(old, ServerPart) and isinstance(new, ServerPart):
        old = forget_found_login(old, new)
    before, after = {} if old is None else list_members(old), {} if new is None else list_members(new)
    members = compare_members(key[0], before, after)
    if old is None or new is None:
        shown = members if new is not None else ()
        return ObjectChange(*key, "added" if old is None else "removed", tuple(_mask_urls(shown, old, new)))
    return ObjectChange(*key, "changed", tuple(_mask_urls(members, old, new))) if members else None


def forget_found_login(stored: ServerPart, said: ServerPart) -> ServerPart:
    """Leave out a login that was found out when the server was registered, where nothing is said of one."""
    if said.login is None and stored.login == OAuthLogin():
        return stored.model_copy(update={"login": None})
    return stored


def compare_members(section: str, before: Mapping[Way, Any], after: Mapping[Way, Any]) -> list[MemberChange]:
    """Compare the members of two objects of a section."""
    changes = []
    for way in sorted({*before, *after}):
        if way == ORDER:
            if _common_order(before, after) != _common_order(after, before):
                changes.append(MemberChange(way, "changed", secret=True))
        elif way not in after:
            changes.append(_show(section, way, "removed", before[way], None))
        elif way not in before:
            changes.append(_show(section, way, "added", None, after[way]))
        elif not is_same(before[way], after[way]):
            changes.append(_show(section, way, "changed", before[way], after[way]))
    return changes


def is_same(old: Any, new: Any) -> bool:
    """Compare two values as JSON has them: true is no 1, and a number is the same in whatever way it is written."""
    match old, new:
        case (bool(), _) | (_, bool()):
            return old is new
        case dict(), dict():
            return old.keys() == new.keys() and all(is_same(old[key], new[key]) for key in old)
        case list(), list():
            return len(old) == len(new) and all(map(is_same, old, new))
        case (float(), int()) | (int(), float()):
            with suppress(OverflowError):
                return float(old) == float(new)
            return False
    return bool(old == new)


def _common_order(of: Mapping[Way, Any], other: Mapping[Way, Any]) -> list[str]:
    return [name for name in of.get(ORDER, []) if ("entries", name) in other]


def is_secret_member(section: str, way: Way) -> bool:
    """Tell if the value of a member is never shown."""
    if section == "bundles" and way[:1] == ("entries",):
        return is_secret((section, "", way[0], 0, *way[2:]))
    return is_secret((section, "", *way))


def _show(section: str, way: Way, change: Kind, old: Any, new: Any) -> MemberChange:
    if is_secret_member(section, way) or isinstance(old, SecretStr) or isinstance(new, SecretStr):
        return MemberChange(way, change, secret=True)
    if way == ("ttl",):
        old, new = write_duration(old), write_duration(new)
    return MemberChange(way, change, old=old, new=new)


def _mask_urls(members: Any, old: Section | None, new: Section | None) -> Iterator[MemberChange]:
    """Show of an address, or of a command, what is shown of it everywhere; what differs only in the rest is secret."""
    for member in members:
        if member.path in {("url",), ("command",)}:
            masked = replace(member, old=_describe(old, member.old), new=_describe(new, member.new))
            yield MemberChange(member.path, member.change, secret=True) if masked.old == masked.new else masked
        else:
            yield member


def _describe(part: Section | None, value: Any) -> str | None:
    if not isinstance(part, ServerPart) or value is None:
        return None
    return describe_endpoint(part.to_config()) if part.url else part.command
