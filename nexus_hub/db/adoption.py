"""Take over what a database of the seed's making holds in plain: the configs of user servers are sealed.

The tables themselves are taken over by the migrations. A plain config goes only after the sealed one was opened again
and compared, all of them in one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from nexus_hub.db.pool import Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import CannotMigrate, HubError

ADOPTION = load("adoption")


class ConfigSealer(Protocol):
    """Seals the configs of user servers that an older database holds in plain, and opens them again."""

    async def seal_config(self, row_id: UUID, owner: UUID, config: Mapping[str, Any]) -> tuple[bytes, str]:
        """The sealed bytes for that row of `user_servers` and its user, and the key's id."""

    async def open_config(self, row_id: UUID, owner: UUID, sealed: bytes, key_id: str | None) -> Mapping[str, Any]:
        """The config out of the sealed bytes of that row; `key_id` None: sealed by another program."""


@dataclass(frozen=True, slots=True)
class PlainConfig:
    """A row of `user_servers` with a config in plain, and perhaps a sealed one beside it."""

    id: UUID
    user_id: UUID
    config: Mapping[str, Any] = field(repr=False)
    config_encrypted: bytes | None
    key_id: str | None


async def seal_plain_configs(transaction: Transaction, sealer: ConfigSealer | None) -> None:
    """Seal all plain configs and drop their column; a database without that column is left as it is.

    Raises:
        CannotMigrate: there is no sealer, or a sealed config is not the plain one.
    """
    if not await transaction.only(ADOPTION["has_plain_config"], bool):
        return
    await transaction.run(ADOPTION["lock_servers"])
    rows = await transaction.all(ADOPTION["plain_configs"], PlainConfig)
    if rows:
        await _seal_all(transaction, sealer, rows)
    await transaction.run(ADOPTION["drop_plain_config"])


async def _seal_all(transaction: Transaction, sealer: ConfigSealer | None, rows: Sequence[PlainConfig]) -> None:
    if sealer is None:
        raise CannotMigrate(
            f"{len(rows)} user servers hold their config in plain, and there is no vault key to seal them with; "
            "set VAULT_ENCRYPTION_KEY and migrate again."
        )
    for row in rows:
        await _seal(transaction, sealer, row)


async def _seal(transaction: Transaction, sealer: ConfigSealer, row: PlainConfig) -> None:
    if row.config_encrypted is None:
        sealed, key_id = await sealer.seal_config(row.id, row.user_id, row.config)
        await transaction.run(ADOPTION["store_sealed_config"], id=row.id, sealed=sealed, key_id=key_id)
    stored = await transaction.only(ADOPTION["sealed_config"], PlainConfig, id=row.id)
    try:
        opened = await sealer.open_config(row.id, row.user_id, stored.config_encrypted or b"", stored.key_id)
    except HubError as error:
        raise CannotMigrate(f"The config of user server {row.id} can't be verified: {error.message}") from None
    if opened != stored.config:
        raise CannotMigrate(
            f"The sealed config of user server {row.id} is not its plain one; set the one that is wrong to NULL "
            "and migrate again."
        )
