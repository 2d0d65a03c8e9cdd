"""Connections to the hub's database: every transaction says for whom it acts."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import is_dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, AsyncCursor
from psycopg.rows import AsyncRowFactory, DictRow, class_row, dict_row, scalar_row
from psycopg.types.json import Json, Jsonb, JsonLoader
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from nexus_hub.clock import RemoteClock
from nexus_hub.db.queries import load
from nexus_hub.errors import DatabaseUnavailable, NotOneRow, TookTooLong
from nexus_hub.json_text import read, write
from nexus_hub.models import OPERATOR, Principal

Row = TypeVar("Row")
TOO_LARGE = (psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded)
"""A value over a limit of PostgreSQL; psycopg counts these to the operational errors too."""
TOO_SLOW = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)
"""A statement over its time; psycopg counts these to the operational errors too, but the connection is well."""
SESSION = load("session")
LARGE_BYTES = 256 * 1024
"""A value of more bytes makes a transaction large."""
STATEMENT_SECONDS = 10.0
"""The time that a statement may take where a user waits for it, unless the settings say otherwise."""
FULL_SECONDS = 60.0
"""A disk counts as full for so long after a write was refused: where nobody writes, nobody knows."""
KEEP_ALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""In seconds, the last in milliseconds: a host or a gateway between that vanished without a word is noticed after 25 s
instead of hours, the last one where something was sent that it never received."""
RECONNECT_SECONDS = 3.0
"""The pool tries so long to replace a connection, with growing pauses; then it begins anew for whoever asks next. By
its default the pauses grow for five minutes, and a database that was away for long stays unused for as long again."""
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

    def note_size(self, size: int) -> None:
        """Note the bytes that were sent or read as one value."""
        self.is_large |= size > LARGE_BYTES

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
        self,
        url: str,
        *,
        name: str,
        min_size: int = 1,
        max_size: int = 10,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        self.url = url
        self.clock = RemoteClock()
        """The database's, which every new connection tells, and every round of the rescuer."""
        self._statement_seconds = statement_seconds
        self._full_at: float | None = None
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            open=False,
            min_size=min_size,
            max_size=max_size,
            timeout=10,
            max_lifetime=1800,
            reconnect_timeout=RECONNECT_SECONDS,
            connection_class=AsyncConnection[DictRow],
            # Transactions are begun in so many words: a scope would end with its first statement where they are not.
            kwargs={"row_factory": dict_row, "autocommit": True, "application_name": name, "connect_timeout": 10}
            | KEEP_ALIVE,
            configure=self._configure,
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
            async with self._connection(SESSION["begin"], _scope_of(principal, seconds)) as connection:
                transaction = Transaction(connection)
                try:
                    yield transaction
                except BaseException:
                    with suppress(psycopg.Error):
                        await connection.rollback()
                    raise
                await connection.commit()
                if transaction.is_large:
                    await connection.close()
        except TOO_LARGE:
            raise
        except psycopg.errors.QueryCanceled:
            raise (TookTooLong(self._statement_seconds) if bounded else DatabaseUnavailable()) from None
        except UNREACHABLE as error:
            raise self._to_unavailable(error) from None

    @asynccontextmanager
    async def exclusive_lock(self, name: str) -> AsyncIterator[bool]:
        """Try to be the only block of that name in all processes; yields False where another one is under way.

        The lock is its connection's: should that be lost on the way, another block may begin.

        Raises:
            DatabaseUnavailable: no connection can be had.
        """
        try:
            async with self._connection(SESSION["ping"], {}) as connection:
                try:
                    row = await (await connection.execute(SESSION["lock_exclusively"], {"name": name})).fetchone()
                    yield row is not None and row["taken"]
                finally:
                    await _let_go(connection)
        except TOO_LARGE:
            raise
        except UNREACHABLE as error:
            raise self._to_unavailable(error) from None

    async def ask(self, query: bytes, row: type[Row], /, **params: object) -> Row:
        """Run statements of which the last gives one row, as a transaction of their own: one way there and back.

        They say for whom they act by themselves. A connection that was lost in the pool is not noticed before they are
        sent, so that they may be sent twice.

        Raises:
            DatabaseUnavailable: no connection can be had, it was lost on the way, or it took too long.
            NotOneRow: the last one gave none, or several.
        """
        try:
            cursor = await self._execute_first(query, params, _row_factory(row))
        except UNREACHABLE as error:
            raise self._to_unavailable(error) from None
        try:
            while cursor.nextset():
                pass
            if cursor.rowcount != 1:
                raise NotOneRow(cursor.rowcount)
            return cast("Row", await cursor.fetchone())
        finally:
            await self._pool.putconn(cursor.connection)

    @asynccontextmanager
    async def _connection(
        self, first: bytes, parameters: Mapping[str, object]
    ) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection of the pool that has answered a first statement."""
        cursor = await self._execute_first(first, parameters, dict_row)
        connection: AsyncConnection[DictRow] = cursor.connection
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def _execute_first(
        self, first: bytes, parameters: Mapping[str, object], factory: AsyncRowFactory[Any]
    ) -> AsyncClientCursor[Any]:
        """Execute a first statement on a connection of the pool; one that was lost in the pool is left there."""
        lost = 0
        while True:
            connection = await self._pool.getconn()
            cursor = AsyncClientCursor(connection, row_factory=factory)
            try:
                return await cursor.execute(first, parameters)
            except TOO_SLOW:
                await self._pool.putconn(connection)
                raise
            except UNREACHABLE:
                await self._pool.putconn(connection)
                lost += 1
                if lost > self._pool.max_size:
                    raise
            except BaseException:
                await self._pool.putconn(connection)
                raise

    @property
    def is_full(self) -> bool:
        """True if a write was refused a moment ago, since PostgreSQL has no room on its disk."""
        return self._full_at is not None and time.monotonic() - self._full_at < FULL_SECONDS

    def _to_unavailable(self, error: Exception) -> DatabaseUnavailable:
        if not isinstance(error, psycopg.errors.DiskFull):
            return DatabaseUnavailable()
        self._full_at = time.monotonic()
        return DatabaseUnavailable("has no room on its disk")

    async def _configure(self, connection: AsyncConnection[DictRow]) -> None:
        connection.adapters.register_loader("json", _JsonAsSent)
        row = await (await connection.execute(SESSION["keep_alive"])).fetchone()
        if row is not None:
            self.clock.note(row["now"])

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: it gives none.
        """
        async with self.transaction() as transaction:
            await transaction.one(SESSION["ping"])


class _JsonAsSent(JsonLoader):
    """Reads the type json, which keeps the texts that were sent; jsonb holds nothing but what it has written itself."""

    _loads = staticmethod(read)


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


def json_parameter(value: Any) -> Jsonb | None:
    """A value for a jsonb column; None stays SQL's NULL."""
    return None if value is None else Jsonb(value, dumps=write)


def json_text(text: bytes | None) -> Json | None:
    """A JSON text for a json column, sent as it is; None stays SQL's NULL."""
    return None if text is None else Json(text, dumps=bytes)


def jsonb_text(text: bytes) -> Jsonb:
    """A JSON text for a jsonb column, which was written already."""
    return Jsonb(text, dumps=bytes)
