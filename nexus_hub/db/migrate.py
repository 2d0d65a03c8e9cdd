"""Bring a database's schema up to date: numbered SQL files, each in one transaction with its ledger row."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from nexus_hub.db.adoption import ConfigSealer, seal_plain_configs
from nexus_hub.db.pool import Transaction
from nexus_hub.db.queries import load, sql_root
from nexus_hub.errors import CannotMigrate, DatabaseUnavailable

logger = logging.getLogger(__name__)
SQL = load("migrate")
LOCK_TRIES, LOCK_PAUSE_SECONDS = 60, 4.0
"""Tries of a migration whose table is in use, and the seconds that all others have between two of them."""
IN_USE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_SQLSTATE_NO_GROUP_ROLE = "NX002"


@dataclass(frozen=True, slots=True)
class AppRole:
    """The login role of the app, as the database knows it."""

    owns: bool
    found: bool
    member: bool


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `sql/migrations`; `checksum` is the SHA-256 of its text in hex."""

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

    A database that a later release has migrated is left as it is.

    Raises:
        CannotMigrate: a file was changed after it was applied, a role or a right is missing, plain configs are
            there and no sealer, or a statement failed; everything before it stays applied.
        DatabaseUnavailable: the database does not answer.
    """
    async with as_owner(owner_url) as connection, only_one(connection):
        missing = await _missing(connection)
        if await _find_newer(connection) is not None:
            return []
        await connection.execute(SQL["create_ledger"])
        for migration in missing:
            await _apply(connection, migration)
        async with connection.transaction():
            await seal_plain_configs(Transaction(connection), sealer)
        if app_url is not None:
            await _let_in(connection, app_url)
    return [migration.name for migration in missing]


async def pending(owner_url: str) -> list[str]:
    """The names of the migrations that `migrate` would apply; changes nothing.

    Raises:
        CannotMigrate: a file was changed after it was applied.
        DatabaseUnavailable: the database does not answer.
    """
    async with as_owner(owner_url) as connection:
        return [migration.name for migration in await _missing(connection)]


async def find_newer(owner_url: str) -> int | None:
    """Find the newest migration of a database that a later release has migrated; None if none has.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    async with as_owner(owner_url) as connection:
        return await _find_newer(connection)


def _read(path: Path) -> Migration:
    text = path.read_bytes().replace(b"\r\n", b"\n")
    return Migration(int(path.stem.split("_")[0]), path.stem, text, hashlib.sha256(text).hexdigest())


@asynccontextmanager
async def as_owner(url: str) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Connect as the owner of the schema.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
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
async def only_one(connection: AsyncConnection[DictRow]) -> AsyncIterator[None]:
    """Hold the lock of all who change the schema."""
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


async def _find_newer(connection: AsyncConnection[DictRow]) -> int | None:
    newest = max(await _checksums(connection), default=0)
    return newest if newest > known_migrations()[-1].version else None


async def _checksums(connection: AsyncConnection[DictRow]) -> dict[int, str]:
    if not await Transaction(connection).only(SQL["has_ledger"], bool):
        return {}
    rows = await (await connection.execute(SQL["applied"])).fetchall()
    return {row["version"]: row["checksum"] for row in rows}


async def _apply(connection: AsyncConnection[DictRow], migration: Migration) -> None:
    """Apply a migration beside whoever uses its tables.

    Behind one that waits for a lock wait all that come later, readers too: it gives up soon, lets them pass, and begins
    anew.
    """
    for _ in range(LOCK_TRIES):
        try:
            await _apply_once(connection, migration)
        except IN_USE:
            logger.info("%s waits: a table that it changes is in use", migration.name)
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise CannotMigrate(_explained(migration, error)) from None
        else:
            return
    raise CannotMigrate(
        f"The migration {migration.name} changed nothing: a table that it changes was in use all the time. End the "
        "transactions that stay open (pg_stat_activity, the oldest xact_start) and migrate again."
    )


async def _apply_once(connection: AsyncConnection[DictRow], migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(SQL["bound_locks"])
        await connection.execute(migration.text)
        await connection.execute(
            SQL["record"],
            {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
        )


def _explained(migration: Migration, error: psycopg.Error) -> str:
    """Give the server's message without its detail, which may quote a row."""
    said = (error.diag.message_primary or type(error).__name__).rstrip(".")
    what_to_do = error.diag.message_hint if error.sqlstate == _SQLSTATE_NO_GROUP_ROLE else None
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        what_to_do = "Migrate as the role that owns the database and its tables (NEXUS_MIGRATION_DATABASE_URL)."
    return f"The migration {migration.name} failed and changed nothing: {said}. {what_to_do or ''}".rstrip()


async def _let_in(connection: AsyncConnection[DictRow], app_url: str) -> None:
    login = conninfo_to_dict(app_url).get("user")
    if login is None:
        raise CannotMigrate("NEXUS_DATABASE_URL names no role; write it as postgresql://ROLE@HOST/DATABASE.")
    role = await Transaction(connection).only(SQL["app_role"], AppRole, login=login)
    if role.owns or role.member:
        return
    if not role.found:
        raise CannotMigrate(
            f"The role {login} of NEXUS_DATABASE_URL does not exist; create it with LOGIN and a password, then "
            "migrate again."
        )
    grant = await Transaction(connection).only(SQL["grant_app_role"], str, login=login)
    try:
        await connection.execute(grant.encode())
    except psycopg.errors.InsufficientPrivilege:
        raise CannotMigrate(
            f"The role {login} is no member of nexus_app, and the migrating role may not change that; run as an "
            f"administrator: {grant};"
        ) from None
