"""Bring a database's schema up to date: numbered SQL files, each in one transaction with its ledger row."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from nexus_hub.db.queries import load, sql_root
from nexus_hub.errors import CannotMigrate, DatabaseUnavailable, HubError

SQL = load("migrate")
_SQLSTATE_NO_GROUP_ROLE = "NX002"


class ConfigSealer(Protocol):
    """Seals the configs of user servers that an older database holds in plain, and opens them again."""

    async def seal_config(self, row_id: UUID, config: Mapping[str, Any]) -> tuple[bytes, str]:
        """The sealed bytes for that row of `user_servers`, and the key's id."""

    async def open_config(self, row_id: UUID, sealed: bytes, key_id: str | None) -> Mapping[str, Any]:
        """The config out of the sealed bytes of that row; `key_id` None: sealed by another program."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/migrations`; `checksum` is the SHA-256 of its text in hex."""

    version: int
    name: str
    text: bytes
    checksum: str


@cache
def known_migrations() -> Sequence[Migration]:
    """The migrations of this release, in order.

    Raises:
        ValueError: the numbers are not 1, 2, 3 and so on.
    """
    found = tuple(_read(path) for path in sorted((sql_root() / "migrations").glob("*.sql")))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations are not numbered in a row: {[migration.name for migration in found]}")
    return found


async def migrate(owner_url: str, *, app_url: str | None = None, sealer: ConfigSealer | None = None) -> list[str]:
    """Apply what is missing, then let the login role of `app_url` act for the app; the names of what was applied.

    Raises:
        CannotMigrate: a file was changed after it was applied, a role or a right is missing, plain configs are
            there and no sealer, or a statement failed; everything before it stays applied.
        DatabaseUnavailable: the database does not answer.
    """
    async with _owner(owner_url) as connection, _locked(connection):
        missing = await _missing(connection)
        await connection.execute(SQL["create_ledger"])
        for migration in missing:
            await _apply(connection, migration)
        await _take_over_plain_configs(connection, sealer)
        if app_url is not None:
            await _let_in(connection, app_url)
    return [migration.name for migration in missing]


async def pending(owner_url: str) -> list[str]:
    """The names of the migrations that `migrate` would apply; changes nothing.

    Raises:
        CannotMigrate: a file was changed after it was applied.
        DatabaseUnavailable: the database does not answer.
    """
    async with _owner(owner_url) as connection:
        return [migration.name for migration in await _missing(connection)]


def _read(path: Path) -> Migration:
    text = path.read_bytes().replace(b"\r\n", b"\n")
    return Migration(int(path.stem.split("_")[0]), path.stem, text, hashlib.sha256(text).hexdigest())


@asynccontextmanager
async def _owner(url: str) -> AsyncIterator[AsyncConnection[DictRow]]:
    try:
        connection = await AsyncConnection[DictRow].connect(
            url, autocommit=True, row_factory=dict_row, application_name="nexus-hub migrate", connect_timeout=10
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError):
        raise DatabaseUnavailable from None
    try:
        async with connection:
            await connection.execute(SQL["prepare"])
            yield connection
    except psycopg.OperationalError:
        raise DatabaseUnavailable from None


@asynccontextmanager
async def _locked(connection: AsyncConnection[DictRow]) -> AsyncIterator[None]:
    await connection.execute(SQL["lock"])
    try:
        yield
    finally:
        if not connection.broken:
            await connection.execute(SQL["unlock"])


async def _missing(connection: AsyncConnection[DictRow]) -> list[Migration]:
    applied = await _checksums(connection)
    for migration in known_migrations():
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise CannotMigrate(
                f"The migration {migration.name} was changed after this database applied it; restore the released "
                "file and put the change into a new migration."
            )
    return [migration for migration in known_migrations() if migration.version not in applied]


async def _checksums(connection: AsyncConnection[DictRow]) -> dict[int, str]:
    if not (await _one(connection, "has_ledger"))["has_ledger"]:
        return {}
    rows = await (await connection.execute(SQL["applied"])).fetchall()
    return {row["version"]: row["checksum"] for row in rows}


async def _apply(connection: AsyncConnection[DictRow], migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.text)
            await connection.execute(
                SQL["record"],
                {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
            )
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise CannotMigrate(_explained(migration, error)) from None


def _explained(migration: Migration, error: psycopg.Error) -> str:
    """What the server said, without its detail: that may quote a row."""
    said = (error.diag.message_primary or type(error).__name__).rstrip(".")
    what_to_do = error.diag.message_hint if error.sqlstate == _SQLSTATE_NO_GROUP_ROLE else None
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        what_to_do = "Migrate as the role that owns the database and its tables (NEXUS_MIGRATION_DATABASE_URL)."
    return f"The migration {migration.name} failed and changed nothing: {said}. {what_to_do or ''}".rstrip()


async def _take_over_plain_configs(connection: AsyncConnection[DictRow], sealer: ConfigSealer | None) -> None:
    if not (await _one(connection, "has_plain_config"))["has_plain_config"]:
        return
    async with connection.transaction():
        await connection.execute(SQL["lock_servers"])
        rows = await (await connection.execute(SQL["plain_configs"])).fetchall()
        if rows:
            await _seal_all(connection, sealer, rows)
        await connection.execute(SQL["drop_plain_config"])


async def _seal_all(connection: AsyncConnection[DictRow], sealer: ConfigSealer | None, rows: Sequence[DictRow]) -> None:
    if sealer is None:
        raise CannotMigrate(
            f"{len(rows)} user servers hold their config in plain, and there is no vault key to seal them with; "
            "set VAULT_ENCRYPTION_KEY and migrate again."
        )
    for row in rows:
        await _seal(connection, sealer, row)


async def _seal(connection: AsyncConnection[DictRow], sealer: ConfigSealer, row: DictRow) -> None:
    if row["config_encrypted"] is None:
        sealed, key_id = await sealer.seal_config(row["id"], row["config"])
        await connection.execute(SQL["store_sealed_config"], {"id": row["id"], "sealed": sealed, "key_id": key_id})
    stored = await _one(connection, "sealed_config", id=row["id"])
    try:
        opened = await sealer.open_config(row["id"], stored["config_encrypted"], stored["key_id"])
    except HubError as error:
        raise CannotMigrate(f"The config of user server {row['id']} can't be verified: {error.message}") from None
    if opened != stored["config"]:
        raise CannotMigrate(
            f"The sealed config of user server {row['id']} is not its plain one; set the one that is wrong to NULL "
            "and migrate again."
        )


async def _let_in(connection: AsyncConnection[DictRow], app_url: str) -> None:
    login = conninfo_to_dict(app_url).get("user")
    if login is None:
        raise CannotMigrate("NEXUS_DATABASE_URL names no role; write it as postgresql://ROLE@HOST/DATABASE.")
    role = await _one(connection, "app_role", login=login)
    if role["owns"] or role["member"]:
        return
    if not role["found"]:
        raise CannotMigrate(
            f"The role {login} of NEXUS_DATABASE_URL does not exist; create it with LOGIN and a password, then "
            "migrate again."
        )
    grant = (await _one(connection, "grant_app_role", login=login))["statement"]
    try:
        await connection.execute(grant.encode())
    except psycopg.errors.InsufficientPrivilege:
        raise CannotMigrate(
            f"The role {login} is no member of nexus_app, and the migrating role may not change that; run as an "
            f"administrator: {grant};"
        ) from None


async def _one(connection: AsyncConnection[DictRow], query: str, **params: object) -> DictRow:
    row = await (await connection.execute(SQL[query], params or None)).fetchone()
    if row is None:
        raise CannotMigrate(f"The query {query} gave no row; a user server was deleted meanwhile: migrate again.")
    return row
