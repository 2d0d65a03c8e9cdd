"""The schema's migration with what the settings and the home say."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from nexus_hub.db.migrate import find_newer, migrate
from nexus_hub.db.partitions import partition_jobs
from nexus_hub.errors import NotConfigured
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.vault.keyring import keyring_source
from nexus_hub.vault.sealing import SealContext, Vault


class _RowSealer:
    """Seals the config of a row of `user_servers` in its place."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def seal_config(self, row_id: UUID, owner: UUID, config: Mapping[str, Any]) -> tuple[bytes, str]:
        """The sealed bytes for that row and user, and the key's id."""
        sealed = self._vault.seal_config(_context(row_id, owner), dict(config))
        return sealed.data, sealed.key_id

    async def open_config(self, row_id: UUID, owner: UUID, sealed: bytes, key_id: str | None) -> Mapping[str, Any]:
        """The config out of the sealed bytes of that row."""
        return self._vault.open_config(_context(row_id, owner), sealed, key_id)


def owner_url(settings: Settings) -> str | None:
    """Find the URL of the schema's owner; None for an outside database whose owner is not named."""
    if settings.migration_database_url:
        return settings.migration_database_url.get_secret_value()
    return Home(settings.home).migration_database_url() if settings.embeds_postgres else None


async def migrate_hub(settings: Settings) -> list[str]:
    """Bring the schema up to date and let the app's role in; the names of what was applied.

    Raises:
        NotConfigured: the database is an outside one and its owner's URL is missing.
        CannotMigrate, DatabaseUnavailable: see `nexus_hub.db.migrate`.
    """
    owner = _require_owner(settings)
    given = settings.database_url
    app = given.get_secret_value() if given else Home(settings.home).database_url()
    return await migrate(owner, app_url=app, sealer=_sealer(settings))


async def find_later_migration(settings: Settings) -> int | None:
    """Find the newest migration of a schema that a later release has migrated; None if none has.

    Raises:
        NotConfigured, DatabaseUnavailable: as above.
    """
    return await find_newer(_require_owner(settings))


async def partition_hub(settings: Settings) -> bool:
    """Put the jobs into partitions by day; False: they were so already.

    Raises:
        NotConfigured: the database is an outside one and its owner's URL is missing.
        CannotMigrate, DatabaseUnavailable: see `nexus_hub.db.partitions`.
    """
    return await partition_jobs(_require_owner(settings))


def _require_owner(settings: Settings) -> str:
    owner = owner_url(settings)
    if owner is None:
        raise NotConfigured("NEXUS_MIGRATION_DATABASE_URL", "and the app's own role may not change the schema")
    return owner


def _sealer(settings: Settings) -> _RowSealer | None:
    source = keyring_source(settings)
    try:
        source.current()
    except NotConfigured:
        return None
    return _RowSealer(Vault(source))


def _context(row_id: UUID, owner: UUID) -> SealContext:
    return SealContext("user_servers", "config_encrypted", row_id, owner)
