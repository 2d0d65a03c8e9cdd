"""Plans: what would change by what the hub's one file says, and what was changed by hand since the last time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from nexus_hub.configuration.checks import EVERYONE
from nexus_hub.configuration.differences import (
    CONNECTION,
    SECTIONS,
    MemberChange,
    ObjectChange,
    compare,
    compare_members,
    is_secret_member,
    list_members,
    list_objects,
)
from nexus_hub.configuration.present import CONFIGURATION, Present
from nexus_hub.configuration.schema import BundlePart, Configuration, GroupPart, Section, ServerPart
from nexus_hub.db.pool import Transaction
from nexus_hub.errors import ConfigurationFault

_SECRET = None
"""Stands for each secret in what is kept of the configuration that was applied last."""


@dataclass(frozen=True)
class Plan:
    """A plan: the changes, what is not in the file and stays, and what was changed by hand since the last time."""

    changes: list[ObjectChange]
    not_in_file: list[tuple[str, str]] = field(default_factory=list)
    drift: list[ObjectChange] = field(default_factory=list)
    applied_at: datetime | None = None


def merge(present: Configuration, wanted: Configuration, *, prune: bool) -> Configuration:
    """Give the configuration that the hub is to have; with `prune`, sections of the file have nothing else."""
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        said, there = getattr(wanted, section), getattr(present, section)
        if isinstance(said, dict):
            kept = {EVERYONE: GroupPart()} if section == "groups" and EVERYONE in there else {}
            sections[section] = (kept if prune else there) | said
        else:
            sections[section] = there if said is None else said
    return Configuration.model_construct(**sections)


def make_plan(present: Present, wanted: Configuration, *, prune: bool) -> Plan:
    """Make the plan of a configuration."""
    changes = compare(present.configuration, merge(present.configuration, wanted, prune=prune))
    said = list_objects(wanted)
    missing = [
        key
        for key in list_objects(present.configuration)
        if key not in said and getattr(wanted, key[0]) is not None and not (prune or key == ("groups", EVERYONE))
    ]
    applied_at = present.applied.applied_at if present.applied else None
    return Plan(changes, missing, find_drift(present), applied_at)


def write_applied(present: Present, only: Configuration) -> dict[str, Any]:
    """Write what is kept of a configuration that was applied: the objects of the file, and no secret of them."""
    kept = list_objects(only)
    document: dict[str, Any] = {}
    for (section, name), part in list_objects(present.configuration).items():
        if (section, name) in kept:
            members = [[list(way), value] for way, value in _hide(section, list_members(part)).items()]
            mark = _mark(present, section, name)
            document.setdefault(section, {})[name] = {"members": members, "mark": mark}
    return document


def _mark(present: Present, section: str, name: str) -> list[Any] | None:
    """Give what changes whenever the part of a server or bundle does of which nothing is kept."""
    match section:
        case "servers":
            return [str(present.ids[name]), present.revisions[name]]
        case "bundles":
            return [present.bundle_times[name]]
    return None


def _hide(section: str, members: dict[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
    """Leave out secrets, and the addresses that may hold some."""
    hidden = {("url",), ("command",)} if section == "servers" else set()
    return {
        way: _SECRET if way in hidden or is_secret_member(section, way) or isinstance(value, SecretStr) else value
        for way, value in members.items()
    }


def find_drift(present: Present) -> list[ObjectChange]:
    """Find what was changed by hand since the configuration was applied last, of what its file spoke of."""
    if present.applied is None:
        return []
    objects = list_objects(present.configuration)
    changes = []
    for section, name, kept in _each(present.applied.document):
        part = objects.get((section, name))
        if part is None:
            changes.append(ObjectChange(section, name, "removed"))
        elif members := _find_drift_of(present, section, name, part, kept):
            changes.append(ObjectChange(section, name, "changed", tuple(members)))
    return changes


def _each(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for section in SECTIONS:
        for name, kept in sorted(document.get(section, {}).items()):
            yield section, name, kept


def _find_drift_of(
    present: Present, section: str, name: str, part: Section, kept: dict[str, Any]
) -> list[MemberChange]:
    before = {tuple(way): value for way, value in kept["members"]}
    members = compare_members(section, before, _hide(section, list_members(part)))
    if kept["mark"] != _mark(present, section, name):
        explained = CONNECTION | {"enabled"}  # a switch closes connections too
        if section == "servers" and not any(one.path[0] in explained for one in members):
            members.append(MemberChange(("connection",), "changed", secret=True))
        if section == "bundles" and not members:
            members.append(MemberChange(("fixed arguments",), "changed", secret=True))
    return members


async def find_faults(
    transaction: Transaction, present: Configuration, wanted: Configuration, *, prune: bool
) -> list[ConfigurationFault]:
    """Find what in a configuration speaks of something that is not there, or takes a name that is."""
    after = merge(present, wanted, prune=prune)
    servers, bundles, groups = after.servers or {}, after.bundles or {}, after.groups or {}
    members = sorted({name for group in (wanted.groups or {}).values() for name in group.members})
    users = set(await transaction.all(CONFIGURATION["known_users"], str, names=members))
    new = sorted((wanted.servers or {}).keys() - (present.servers or {}).keys())
    taken = set(await transaction.all(CONFIGURATION["taken_by_users"], str, names=new))
    return [
        *(_fault("servers", name, problem="a user has a server of this name", of_key=True) for name in sorted(taken)),
        *_find_clashes(servers, bundles, wanted),
        *_find_lost_servers(servers, bundles),
        *_find_lost_targets(servers, bundles, groups, users, wanted),
    ]


def _fault(*path: str | int, problem: str, of_key: bool = False) -> ConfigurationFault:
    return ConfigurationFault(path, problem, of_key)


def _find_clashes(
    servers: dict[str, ServerPart], bundles: dict[str, BundlePart], wanted: Configuration
) -> Iterator[ConfigurationFault]:
    for name in sorted(servers.keys() & bundles.keys()):
        section, other = ("bundles", "server") if name in (wanted.bundles or {}) else ("servers", "bundle")
        yield _fault(section, name, problem=f"a {other} has this name", of_key=True)


def _find_lost_servers(servers: dict[str, ServerPart], bundles: dict[str, BundlePart]) -> Iterator[ConfigurationFault]:
    for name, bundle in bundles.items():
        for position, entry in enumerate(bundle.entries):
            if entry.server not in servers:
                path = ("bundles", name, "entries", position, "server")
                yield ConfigurationFault(path, f"there is no system server {entry.server[:80]!r}")


def _find_lost_targets(
    servers: dict[str, ServerPart],
    bundles: dict[str, BundlePart],
    groups: dict[str, GroupPart],
    users: set[str],
    wanted: Configuration,
) -> Iterator[ConfigurationFault]:
    for name, group in groups.items():
        for position, grant in enumerate(group.grants):
            path = ("groups", name, "grants", position)
            for key, known, kind in (
                ("server", servers, "system server"),
                ("bundle", bundles, "bundle"),
                ("approvers", groups, "group"),
            ):
                said = getattr(grant, key)
                if said is not None and said not in known:
                    yield _fault(*path, key, problem=f"there is no {kind} {said[:80]!r}")
        for position, user in enumerate(group.members if name in (wanted.groups or {}) else ()):
            if user not in users:
                path = ("groups", name, "members", position)
                yield ConfigurationFault(path, f"there is no user {user[:80]!r}; add it with: nexus-hub user add NAME")
