"""Exchanges of refresh tokens: once in all processes, and the new tokens are written before anybody uses them.

An authorization server that rotates refresh tokens takes each of them once. So the row is locked as long as the
exchange lasts; it is marked before, so that an exchange whose process died is found; and new tokens that the database
does not take are kept until it does.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import (
    DatabaseUnavailable,
    ExchangeFailed,
    LoginNeeded,
    RefreshRefused,
    UpstreamUnavailable,
)
from nexus_hub.models import ServerRef
from nexus_hub.servers.login_rows import LOGINS, LoginRow, LoginRows
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import LoginRefreshed
from nexus_hub.upstream.oauth import TokenSet

MOST_EXCHANGES, MOST_PER_SERVER = 8, 2
"""The connections that exchanges hold in one process, in all and for one server."""
EXCHANGE_SECONDS = 12.0
"""The time of one exchange; less than PostgreSQL lets a transaction wait for us."""
WRITE_AGAIN_SECONDS = 0.25
KEPT_SECONDS = 900.0
"""The time that new tokens are kept for a database that is away."""
ENDED = "the login has ended, and its authorization server offers no way to renew it"
CUT_OFF = "; an exchange before this one was cut off, and its answer was lost"


@dataclass(frozen=True, slots=True)
class LoginSite:
    """The server of a login as a refresh needs it: its name, how tokens are exchanged, where people log in."""

    server: str
    refresh: Callable[[TokenSet], Awaitable[TokenSet]]
    link: str | None = None
    is_yours: bool = True

    def need(self, reason: str) -> LoginNeeded:
        """Make the error that says that only a person can go on."""
        return LoginNeeded(self.server, reason, self.link, is_yours=self.is_yours)


class LoginRefresher:
    """Exchanges refresh tokens, on connections of its own: they are held while an authorization server thinks."""

    def __init__(self, database_url: str, rows: LoginRows) -> None:
        self._rows = rows
        self._database = Database(database_url, name="nexus-hub logins", min_size=0, max_size=MOST_EXCHANGES)
        self._places = asyncio.Semaphore(MOST_EXCHANGES)
        self._of_server: defaultdict[ServerRef, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MOST_PER_SERVER)
        )

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, trace)

    async def exchange(self, row: LoginRow, site: LoginSite, until: float) -> None:
        """Exchange the tokens of a row, if it is still as it was read; what has come of it is in the row.

        It has begun by `until`, of the monotonic clock, or never.

        Raises:
            LoginNeeded: they can't be exchanged any more.
            UpstreamUnavailable: the authorization server gave no answer that can be used; they stay as they are.
            LoginFailed: it refuses the hub itself.
        """
        async with self._of_server[row.key.ref], self._places:
            began = time.monotonic()
            if began > until:
                words = f"The login at the server {site.server!r} can't be renewed just now: many others are."
                raise UpstreamUnavailable(site.server, words)
            outcome = "failed"
            try:
                outcome = await self._exchange_marked(row, site)
            except LoginNeeded:
                outcome = "refused"
                raise
            finally:
                if outcome != "elsewhere":
                    emit(LoginRefreshed(row.server_ref_id, outcome, (time.monotonic() - began) * 1000, site.server))

    async def _exchange_marked(self, row: LoginRow, site: LoginSite) -> str:
        async with self._database.transaction() as transaction:
            was_cut_off = await transaction.one(LOGINS["mark_refreshing"], bool, id=row.id, revision=row.revision)
        if was_cut_off is None:
            return "elsewhere"
        exchange = _Exchange(self._rows, site, was_cut_off=was_cut_off)
        try:
            async with self._database.transaction() as transaction:
                held = await transaction.one(LOGINS["lock_login"], LoginRow, id=row.id)
                if held is None or held.revision != row.revision or not held.refreshing:
                    return "elsewhere"
                await exchange.run(transaction, held)
        except DatabaseUnavailable:
            if exchange.tokens is None:
                raise
            await self._write_later(row, exchange.tokens)
        if exchange.error is not None:
            raise exchange.error
        return "refreshed"

    async def _write_later(self, row: LoginRow, tokens: TokenSet) -> None:
        """Write what an exchange gave once the database is back: the tokens of before may be worth nothing."""
        until = time.monotonic() + KEPT_SECONDS
        while True:
            await asyncio.sleep(WRITE_AGAIN_SECONDS)
            try:
                async with self._database.transaction() as transaction:
                    await self._rows.write(transaction, row, tokens)
            except DatabaseUnavailable:
                if time.monotonic() > until:
                    raise
            else:
                return


class _Exchange:
    """Exchange under the lock of its row: the tokens that it gave, or the error that is raised after the commit."""

    def __init__(self, rows: LoginRows, site: LoginSite, *, was_cut_off: bool) -> None:
        self._rows = rows
        self._site = site
        self._was_cut_off = was_cut_off
        self.tokens: TokenSet | None = None
        self.error: Exception | None = None

    async def run(self, transaction: Transaction, row: LoginRow) -> None:
        held = self._rows.open(row)
        if not isinstance(held, TokenSet) or not held.is_renewable:
            await self._need_login(transaction, row, ENDED)
            return
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                self.tokens = await self._site.refresh(held)
        except RefreshRefused as error:
            await self._need_login(transaction, row, error.reason + (CUT_OFF if self._was_cut_off else ""))
        except (ExchangeFailed, TimeoutError) as error:
            reason = error.reason if isinstance(error, ExchangeFailed) else "it gave no answer in time"
            words = f"The login at the server {self._site.server!r} can't be renewed just now: {reason}."
            await self._give_up(transaction, row, UpstreamUnavailable(self._site.server, words))
        except Exception as error:
            await self._give_up(transaction, row, error)
        else:
            await self._rows.write(transaction, row, self.tokens)

    async def _need_login(self, transaction: Transaction, row: LoginRow, reason: str) -> None:
        await transaction.run(LOGINS["need_login"], id=row.id, revision=row.revision, reason=reason)
        self.error = self._site.need(reason)

    async def _give_up(self, transaction: Transaction, row: LoginRow, error: Exception) -> None:
        """Leave the tokens as they are: whoever comes next tries again."""
        await transaction.run(LOGINS["clear_mark"], id=row.id, revision=row.revision)
        self.error = error
