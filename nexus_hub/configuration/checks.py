"""Checks of a configuration as far as it can be judged by itself, without a hub."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, cast
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nexus_hub.access.access_grants import GrantWish
from nexus_hub.access.groups import LONGEST_CLAIM, MOST_CLAIMS
from nexus_hub.catalog.bundles import check_bundle
from nexus_hub.catalog.names import check_server_name
from nexus_hub.configuration.document import Path
from nexus_hub.configuration.keys import explain_key
from nexus_hub.configuration.schema import BundlePart, Configuration, GroupPart, ServerPart
from nexus_hub.errors import ConfigurationFault, HubError, InvalidConfiguration, InvalidName, InvalidRequest
from nexus_hub.models import ServerRef
from nexus_hub.servers.traits import TraitChange
from nexus_hub.upstream.addresses import split_url
from nexus_hub.upstream.config import check_sendable

EVERYONE = "everyone"
_SYSTEM = ServerRef("system", UUID(int=0))
_ENTRY = re.compile(r"entries\[([0-9]+)\]: (.*)\.", re.DOTALL)
_GROUP = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
_WORDS = {
    "string_type": "it must be a text; a number or a word such as true is one in quotes",
    "list_type": "it must be a list",
    "dict_type": "it must have members, each as `name: value`",
    "model_type": "it must have members, each as `name: value`",
    "model_attributes_type": "it must have members, each as `name: value`",
    "bool_type": "it must be true or false",
    "missing": "it is missing",
    "union_tag_not_found": "it needs a kind: oauth or header",
    "union_tag_invalid": "its kind must be oauth or header",
}


def parse(data: Any) -> Configuration:
    """Read a configuration, and check all that can be checked without a hub.

    Raises:
        InvalidConfiguration: with all faults.
    """
    try:
        configuration = Configuration.model_validate({} if data is None else data)
    except ValidationError as invalid:
        errors = invalid.errors(include_input=False, include_url=False)
        raise InvalidConfiguration([_make_fault(data, error) for error in errors]) from None
    faults = [*_check_servers(configuration.servers or {}), *_check_bundles(configuration.bundles or {})]
    faults += _check_groups(configuration.groups or {})
    shared = (configuration.servers or {}).keys() & (configuration.bundles or {}).keys()
    faults += [_fault("bundles", name, problem="a server has this name", of_key=True) for name in sorted(shared)]
    if faults:
        raise InvalidConfiguration(faults)
    return configuration


def _fault(*path: str | int, problem: str, of_key: bool = False) -> ConfigurationFault:
    return ConfigurationFault(path, problem, of_key)


def _make_fault(data: Any, error: ErrorDetails) -> ConfigurationFault:
    """Make a fault of one of pydantic's, whose way may also name kinds of a union and keys that are not there."""
    path: list[str | int] = []
    for step in error["loc"]:
        if isinstance(data, dict | list) and (isinstance(step, int) or step in data):
            data = data[cast("Any", step)]
            path.append(step)
        elif error["type"] == "missing" and step == error["loc"][-1]:
            path.append(step)
    if error["type"] == "extra_forbidden":
        return ConfigurationFault(tuple(path), explain_key(tuple(path)), of_key=True)
    if error["type"] == "string_type" and data is None:
        return ConfigurationFault(tuple(path), "it has no value; leave the key out, or give a text")
    words = _WORDS.get(
        error["type"], error["msg"].replace("Input should", "it must").replace("String should", "it must")
    )
    return ConfigurationFault(tuple(path), words)


def _check_servers(servers: dict[str, ServerPart]) -> Iterator[ConfigurationFault]:
    for name, server in servers.items():
        yield from _check_name(("servers", name), name)
        try:
            if server.url is not None:
                split_url(server.url)
            check_sendable(server.to_config())
        except HubError as error:
            yield _fault("servers", name, problem=error.message.rstrip("."))
        try:
            TraitChange(frozenset({"tags"}), tags=server.tags).check(_SYSTEM)
        except InvalidRequest as error:
            yield _fault("servers", name, "tags", problem=error.message.rstrip("."))
        yield from _find_repeats(("servers", name, "tags"), server.tags)


def _check_name(path: Path, name: str, kind: str = "server") -> Iterator[ConfigurationFault]:
    try:
        check_server_name(name, kind)
    except InvalidName as error:
        yield ConfigurationFault(path, error.message.rstrip("."), of_key=True)


def _check_bundles(bundles: dict[str, BundlePart]) -> Iterator[ConfigurationFault]:
    for name, bundle in bundles.items():
        yield from _check_name(("bundles", name), name, "bundle")
        try:
            check_bundle(*bundle.split(name))
        except InvalidName:
            continue
        except InvalidRequest as error:
            found = _ENTRY.fullmatch(error.message)
            place = ("entries", int(found[1])) if found else ()
            yield _fault("bundles", name, *place, problem=found[2] if found else error.message.rstrip("."))


def _check_groups(groups: dict[str, GroupPart]) -> Iterator[ConfigurationFault]:
    for name, group in groups.items():
        if not re.fullmatch(_GROUP, name):
            rule = "use 1 to 64 letters, digits and ._@- with a letter or digit first"
            yield _fault("groups", name, problem=f"this can't be the name of a group: {rule}", of_key=True)
        if name == EVERYONE and (group.members or group.claims):
            yield _fault("groups", name, problem="every user belongs to it: leave out members and claims")
        yield from _find_repeats(("groups", name, "members"), group.members)
        yield from _find_repeats(("groups", name, "claims"), group.claims)
        if len(group.claims) > MOST_CLAIMS or any(len(claim) > LONGEST_CLAIM for claim in group.claims):
            rule = f"a group has up to {MOST_CLAIMS} claims of 1 to {LONGEST_CLAIM} characters"
            yield _fault("groups", name, "claims", problem=rule)
        for position, grant in enumerate(group.grants):
            try:
                GrantWish(**grant.model_dump()).check()
            except InvalidRequest as error:
                yield _fault("groups", name, "grants", position, problem=error.message.rstrip("."))
        targets = [grant.target for grant in group.grants]
        yield from _find_repeats(("groups", name, "grants"), targets)


def _find_repeats(path: Path, values: Iterable[str]) -> Iterator[ConfigurationFault]:
    values = list(values)
    for value in (value for value, count in Counter(values).items() if count > 1):
        position = values.index(value, values.index(value) + 1)
        yield ConfigurationFault((*path, position), f"{value[:80]} is there already")
