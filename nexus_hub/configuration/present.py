"""The configuration that the hub has, read as one document."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.access.groups import GROUPS
from nexus_hub.catalog.bundles import Bundle, read_stored
from nexus_hub.configuration.schema import (
    BundlePart,
    Configuration,
    EntryPart,
    GrantPart,
    GroupPart,
    ServerPart,
    SettingsPart,
    ToolPart,
)
from nexus_hub.db.pool import Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import CannotOpen, InvalidConfig
from nexus_hub.escape import unescape
from nexus_hub.servers.registry import SealedServer
from nexus_hub.servers.sealed_configs import open_sealed
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.vault.sealing import Vault

CONFIGURATION = load("configuration")


@dataclass(frozen=True)
class Applied:
    """The configuration that was applied last, as lines without secrets, and when."""

    document: dict[str, Any]
    applied_at: datetime


@dataclass(frozen=True)
class Present:
    """The configuration that the hub has.

    `ids` and `revisions` are those of servers by name, `bundle_times` tells when bundles were changed; `unopened` has
    the servers that no key opens, of which only what is not sealed is known.
    """

    configuration: Configuration
    ids: dict[str, UUID] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    bundle_times: dict[str, str] = field(default_factory=dict)
    unopened: frozenset[str] = frozenset()
    applied: Applied | None = None


@dataclass(frozen=True, slots=True)
class _Traits:
    id: UUID
    access: Any
    tags: list[str]
    pin: bool
    ttl_seconds: int | None
    tools: dict[str, dict[str, Any]]


async def read_present(transaction: Transaction, vault: Vault) -> Present:
    """Read what the hub has, with the secrets of its servers opened."""
    rows = await transaction.all(CONFIGURATION["sealed_servers"], SealedServer)
    traits = {one.id: one for one in await transaction.all(CONFIGURATION["server_words"], _Traits)}
    configs = {row.name: _open(vault, row) for row in rows}
    is_open = await transaction.only(GROUPS["is_open"], bool)
    groups = await transaction.all(CONFIGURATION["group_words"])
    return Present(
        Configuration.model_construct(
            settings=SettingsPart(access="open" if is_open else "closed"),
            servers={row.name: _make_server(row, traits[row.id], configs[row.name]) for row in rows},
            bundles={one.name: _make_bundle(one) for one in await read_stored(transaction)},
            groups={row["name"]: _make_group(row) for row in groups},
        ),
        {row.name: row.id for row in rows},
        {row.name: row.revision for row in rows},
        {row["name"]: row["changed_at"] for row in await transaction.all(CONFIGURATION["bundle_times"])},
        frozenset(name for name, config in configs.items() if config is None),
        await transaction.one(CONFIGURATION["applied_configuration"], Applied),
    )


def _open(vault: Vault, row: SealedServer) -> HttpConfig | StdioConfig | None:
    try:
        return open_sealed(vault, row)
    except (CannotOpen, InvalidConfig):
        return None


def _make_server(row: SealedServer, traits: _Traits, config: HttpConfig | StdioConfig | None) -> ServerPart:
    said: dict[str, Any] = {} if config is None else {name: getattr(config, name) for name in _members_of(config)}
    if isinstance(config, StdioConfig):
        said["args"] = list(config.args)
    tools = {unescape(name): ToolPart.model_construct(**word) for name, word in traits.tools.items()}
    return ServerPart.model_construct(
        **said,
        enabled=row.enabled,
        access=traits.access,
        tags=traits.tags,
        pin=traits.pin,
        ttl=traits.ttl_seconds,
        limit_per_minute=row.limit_per_minute,
        user_limit_per_minute=row.user_limit_per_minute,
        durable=None if row.durable == "long" else row.durable,
        handle_seconds=row.handle_seconds,
        tools=tools,
    )


def _members_of(config: HttpConfig | StdioConfig) -> set[str]:
    return set(type(config).model_fields) - {"transport"}


def _make_bundle(bundle: Bundle) -> BundlePart:
    entries = [
        EntryPart.model_construct(**{name: getattr(entry, name) for name in EntryPart.model_fields})
        for entry in bundle.entries
    ]
    return BundlePart.model_construct(
        title=bundle.title, instructions=bundle.instructions, access=bundle.access, entries=entries
    )


def _make_group(row: dict[str, Any]) -> GroupPart:
    grants = [GrantPart.model_construct(**grant | {"tool": unescape(grant["tool"])}) for grant in row["grants"]]
    return GroupPart.model_construct(claims=row["claims"], members=row["members"], grants=grants)
