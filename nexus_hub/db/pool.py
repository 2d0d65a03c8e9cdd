"""Connections to the hub's database: every transaction says for whom it acts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import is_dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import AsyncRowFactory, DictRow, class_row, dict_row, scalar_row
from psycopg.types.json import Json, Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, NotOneRow, TookTooLong
from nexus_hub.models import OPERATOR, Principal

Row = TypeVar("Row")
TOO_LARGE = (psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded)
"""A value over a limit of PostgreSQL; psycopg counts these to the operational errors too."""
SESSION = load("session")
STATEMENT_SECONDS = 10.0
"""The time that a statement may take where a user waits for it, unless the settings say otherwise."""
KEEP_ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""In seconds: a host or a gateway between that vanished without a word is noticed after 25 s instead of hours."""
UNREACHABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)
"""Errors of psycopg when the database can't be reached; a `Database` raises DatabaseUnavailable instead."""


class Transaction:
    """A transaction that is open; commits when its block ends, rolls back when it raises.

    A query may be given the type of its rows: a dataclass, whose fields are the query's columns by name, or the type
    of its one column, such as `UUID`. Without one a row is a dict.
    """

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self.connection = connection
        self.is_large = False
        """Much was sent or read: libpq never gives back its buffers, so that the connection is not used again."""

    @overload
    async def one(self, query: bytes, /, **params: object) -> DictRow | None: ...
    @overload
    async def one(self, query: bytes, row: type[Row], /, **params: object) -> Row | None: ...
    async def one(self, query: bytes, row: type[Any] | None = None, /, **params: object) -> Any:
        """The first row of the query's result, or None."""
        return await (await self._execute(query, row, params)).fetchone()

    @overload
    async def only(self, query: bytes, /, **params: object) -> DictRow: ...
    @overload
    async def only(self, query: bytes, row: type[Row], /, **params: object) -> Row: ...
    async def only(self, query: bytes, row: type[Any] | None = None, /, **params: object) -> Any:
        """The one row of a query that always gives exactly one.

        Raises:
            NotOneRow: it gave none, or several.
        """
        cursor = await self._execute(query, row, params)
        if cursor.rowcount != 1:
            raise NotOneRow(cursor.rowcount)
        return await cursor.fetchone()

    @overload
    async def all(self, query: bytes, /, **params: object) -> list[DictRow]: ...
    @overload
    async def all(self, query: bytes, row: type[Row], /, **params: object) -> list[Row]: ...
    async def all(self, query: bytes, row: type[Any] | None = None, /, **params: object) -> list[Any]:
        """All rows of the query's result."""
        return await (await self._execute(query, row, params)).fetchall()

    async def run(self, query: bytes, /, **params: object) -> int:
        """Run a statement; how many rows it touched."""
        cursor = await self.connection.execute(query, params)
        return cursor.rowcount

    async def _execute(self, query: bytes, row: type[Any] | None, params: dict[str, object]) -> AsyncCursor[Any]:
        return await self.connection.cursor(row_factory=_row_factory(row)).execute(query, params)


def _row_factory(row: type[Any] | None) -> AsyncRowFactory[Any]:
    if row is None:
        return dict_row
    return class_row(row) if is_dataclass(row) else scalar_row


class Database:
    """A pool of connections of the app's role.

    An operator's transaction has the scope `service` and sees every row; a user's sees what row-level security
    leaves of them, and each of its statements is ended after `statement_seconds`.
    """

    def __init__(
        self, url: str, *, name: str, max_size: int = 10, statement_seconds: float = STATEMENT_SECONDS
    ) -> None:
        self.url = url
        self._statement_seconds = statement_seconds
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            open=False,
            min_size=1,
            max_size=max_size,
            timeout=10,
            max_lifetime=1800,
            connection_class=AsyncConnection[DictRow],
            # Transactions are begun in so many words: otherwise the check would switch autocommit on and off, and one
            # that is cancelled in between leaves a connection on which a scope ends with its first statement.
            kwargs={"row_factory": dict_row, "autocommit": True, "application_name": name, "connect_timeout": 10}
            | KEEP_ALIVE,
            check=AsyncConnectionPool.check_connection,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(
        self, principal: Principal = OPERATOR, *, bounded: bool = False
    ) -> AsyncIterator[Transaction]:
        """A transaction that acts for the principal; one that answers a request can be bounded for the operator too.

        Raises:
            DatabaseUnavailable: no connection can be had, or it was lost on the way.
            TookTooLong: a statement of a bounded transaction took longer than it may.
        """
        bounded = bounded or not principal.is_operator
        seconds = self._statement_seconds if bounded else None
        try:
            async with self._pool.connection() as connection:
                async with connection.transaction():
                    await connection.execute(SESSION["set_scope"], _scope_of(principal, seconds))
                    transaction = Transaction(connection)
                    yield transaction
                if transaction.is_large:
                    await connection.close()
        except TOO_LARGE:
            raise
        except psycopg.errors.QueryCanceled:
            raise (TookTooLong(self._statement_seconds) if bounded else DatabaseUnavailable()) from None
        except UNREACHABLE:
            raise DatabaseUnavailable from None

    @asynccontextmanager
    async def exclusive_lock(self, name: str) -> AsyncIterator[bool]:
        """Try to be the only block of that name in all processes; yields False where another one is under way.

        The lock is its connection's: should that be lost on the way, another block may begin.

        Raises:
            DatabaseUnavailable: no connection can be had.
        """
        try:
            async with self._pool.connection() as connection:
                try:
                    row = await (await connection.execute(SESSION["lock_exclusively"], {"name": name})).fetchone()
                    yield row is not None and row["taken"]
                finally:
                    await _let_go(connection)
        except TOO_LARGE:
            raise
        except UNREACHABLE:
            raise DatabaseUnavailable from None

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: it gives none.
        """
        async with self.transaction() as transaction:
            await transaction.one(SESSION["ping"])


async def _let_go(connection: AsyncConnection[DictRow]) -> None:
    """Give a connection back to the pool as it was; one that can't be is closed, which ends its locks too."""
    try:
        await connection.execute(SESSION["unlock_all"])
    except psycopg.Error:
        await connection.close()
    except BaseException:
        await connection.close()
        raise


def _scope_of(principal: Principal, statement_seconds: float | None) -> dict[str, str | None]:
    return {
        "scope": "service" if principal.is_operator else "user",
        "user_id": str(principal.user_id or ""),
        "statement_timeout": None if statement_seconds is None else f"{round(statement_seconds * 1000)}ms",
    }


@contextmanager
def blocking_transaction(url: str, *, name: str) -> Iterator[psycopg.Connection[DictRow]]:
    """A transaction in service scope on a connection of its own, for a thread without an event loop.

    Raises:
        psycopg.Error: the database can't be reached.
    """
    with psycopg.connect(
        url, row_factory=dict_row, application_name=name, connect_timeout=5, **KEEP_ALIVE
    ) as connection:
        connection.execute(SESSION["set_scope"], _scope_of(OPERATOR, None))
        yield connection


def ordered_json(value: Any) -> Json:
    """A value for a json parameter, whose members stay in their order."""
    return Json(value)


def json_parameter(value: Any) -> Jsonb | None:
    """A value for a jsonb column; None stays SQL's NULL."""
    return None if value is None else Jsonb(value)


def json_text(text: bytes | None) -> Json | None:
    """A JSON text for a json column, sent as it is; None stays SQL's NULL."""
    return None if text is None else Json(text, dumps=bytes)
