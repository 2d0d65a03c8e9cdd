"""The hub's logins at upstream servers: what each request carries, renewed in time and for all processes at once."""

import asyncio
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.errors import HubError, LoginNeeded, UpstreamUnavailable
from nexus_hub.models import ServerRef
from nexus_hub.servers.login_refresh import ENDED, LoginRefresher, LoginSite
from nexus_hub.servers.login_rows import LOGINS, HeaderCredential, LoginKey, LoginRow, LoginRows
from nexus_hub.settings import DAY_SECONDS
from nexus_hub.telemetry.loops import outlasting
from nexus_hub.upstream.backoff import ConnectBackoff
from nexus_hub.upstream.credentials import CredentialSource
from nexus_hub.upstream.oauth import TokenSet
from nexus_hub.vault.sealing import Vault

PATIENCE_SECONDS = 25.0
"""The time that a call waits for an authorization server that fails, which is asked again and again meanwhile."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
MARGIN_SECONDS, MARGIN_SHARE = 30.0, 0.1
"""A token is renewed so long before its end, or in the last tenth of its time."""
LOOK_SECONDS = 5.0
USE_SECONDS = 60.0
"""The use of a login is written down so often at most."""
CLOSE_SECONDS = 10.0
AHEAD_SECONDS = 600.0
"""Time before its end at which a login that is used often is renewed, by a flow that runs twice in it."""
MOST_DUE = 1000
MOST_KNOWN = 5000
MOST_REFUSALS, REFUSALS_SECONDS = 20, 600.0
"""A server may refuse so many tokens of a login in that time until it is not renewed for it any more."""
_jitter = random.SystemRandom().random
NOT_THERE = "nobody has logged in at it yet"
NOT_YOURS = "you are not logged in at it"

FindSite = Callable[[ServerRef], Awaitable[LoginSite]]
"""Finds the server of a login that nobody is calling just now; NotFound if it was removed or is switched off."""


@dataclass(frozen=True, slots=True)
class OpenLogin:
    """A login that is open in this process; `ends_at` and `renew_at` by the monotonic clock, if it ever ends."""

    id: UUID
    revision: int
    headers: Mapping[str, str] = field(repr=False)
    is_oauth: bool
    ends_at: float
    renew_at: float


@dataclass(frozen=True, slots=True)
class DueLogins:
    """Report on the logins that were due: their number, and what has come of them."""

    due: int
    refreshed: int
    needed: int
    failed: int


class Logins:
    """Logins by server and user. What is open is known until a change is told of, or its token ends or is refused."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        find_site: FindSite,
        *,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows = LoginRows(database, vault)
        self._database = database
        self._find_site = find_site
        self._patience = patience
        self._clock = clock
        self._refresher = LoginRefresher(database.url, self.rows)
        self._known: dict[LoginKey, OpenLogin] = {}
        self._forgotten = 0
        self._running: dict[LoginKey, asyncio.Task[OpenLogin]] = {}
        self._backoffs: dict[LoginKey, ConnectBackoff] = {}
        self._refusals: defaultdict[LoginKey, deque[tuple[int, float]]] = defaultdict(
            lambda: deque(maxlen=MOST_REFUSALS)
        )
        self._used: dict[UUID, float] = {}
        self._unwritten: set[UUID] = set()
        self._cut_off: set[tuple[UUID, Any]] = set()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._refresher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the exchanges under way come to their end: what they give would be lost."""
        self._closing = True
        if running := list(self._running.values()):
            await asyncio.wait(running, timeout=CLOSE_SECONDS)
        for task in running:
            with suppress(HubError, asyncio.CancelledError):
                await cancel_and_wait(task)
        await self._refresher.__aexit__(kind, error, trace)

    def source(self, key: LoginKey, site: LoginSite) -> CredentialSource:
        """Give what logs the requests of a connection in."""
        return _LoginSource(self, key, site)

    async def store(self, key: LoginKey, credential: TokenSet | HeaderCredential) -> None:
        """Store what somebody has logged in with, in place of what was there.

        Raises:
            NotFound: the server was removed.
        """
        await self.rows.store(key, credential)
        self.forget(key.ref)

    async def remove(self, key: LoginKey) -> TokenSet | HeaderCredential | None:
        """Remove a login; what it was, for its tokens to be revoked, or None if there was none."""
        removed = await self.rows.remove(key)
        self.forget(key.ref)
        return removed

    def forget(self, ref: ServerRef | None) -> None:
        """Read the logins at a server anew, or at all of them: they may have changed."""
        self._forgotten += 1
        self._known = {} if ref is None else {key: login for key, login in self._known.items() if key.ref != ref}

    async def current(self, key: LoginKey, site: LoginSite) -> OpenLogin:
        """Give a login as it is to be used now; one that ends soon is renewed behind that.

        Raises:
            LoginNeeded: there is none, or it has ended and can't be renewed.
            UpstreamUnavailable: it can't be renewed just now.
        """
        login = self._known.get(key) or await self._read(key, site)
        self._note_use(login.id)
        if login.ends_at <= self._clock():
            return await self._renewed(key, login, site)
        if login.renew_at <= self._clock():
            self._start(key, login.revision, site)
        return login

    async def replace(self, key: LoginKey, site: LoginSite, refused: Mapping[str, str]) -> OpenLogin:
        """Give another login than the one that the server refused.

        Raises:
            LoginNeeded, UpstreamUnavailable: see `current`.
        """
        login = self._known.get(key) or await self._read(key, site)
        if not login.is_oauth:
            login = await self._read(key, site)
            if login.headers == refused:
                raise site.need("the server refuses the header that was set")
            return login
        if login.headers == refused:
            self._note_refusal(key, login, site)
        for _ in range(2):  # what was under way may have begun before the token that was refused
            if login.headers == refused:
                login = await self._renewed(key, login, site)
        return login

    def _note_refusal(self, key: LoginKey, login: OpenLogin, site: LoginSite) -> None:
        """Count the tokens of a login that its server refused; it is not renewed for ever."""
        if len(self._refusals) > MOST_KNOWN:
            self._refusals.clear()
        refusals, now = self._refusals[key], self._clock()
        if refusals and refusals[-1][0] == login.revision:
            return
        if len(refusals) == MOST_REFUSALS and now - refusals[0][1] < REFUSALS_SECONDS:
            raise site.need("it refuses the login again and again, though it was renewed each time")
        refusals.append((login.revision, now))

    async def want_scope(self, key: LoginKey, site: LoginSite, scope: str) -> LoginNeeded:
        """Note that the server wants more scopes; the error that says so."""
        words = f"it wants the scopes {scope}" if scope else "it wants more scopes than the login has"
        login = self._known.get(key) or await self._read(key, site)
        await self.rows.want_scope(login.id, scope, words)
        return site.need(words)

    async def _renewed(self, key: LoginKey, login: OpenLogin, site: LoginSite) -> OpenLogin:
        """Wait for the login to be renewed, with all others who want that."""
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(self._start(key, login.revision, site))
        except TimeoutError:
            raise _unavailable(site, self._patience) from None

    def _start(self, key: LoginKey, revision: int, site: LoginSite) -> asyncio.Task[OpenLogin]:
        """Begin to renew a login, unless that is under way; nobody who goes away ends it."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._renew(key, revision, site))
            self._running[key] = task
            task.add_done_callback(partial(self._end, key))
        return task

    def _end(self, key: LoginKey, task: "asyncio.Task[OpenLogin]") -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # whoever waits raises it; behind a token that holds nobody does

    async def _renew(self, key: LoginKey, revision: int, site: LoginSite) -> OpenLogin:
        """Exchange until there are other tokens than those of that revision, as long as patience lasts."""
        backoff = self._backoffs.get(key)
        if backoff is not None and backoff.seconds_left:
            raise _unavailable(site, backoff.seconds_left)
        until, pause = self._clock() + self._patience, FIRST_PAUSE_SECONDS
        while True:
            forgotten = self._forgotten
            row = await self._read_row(key, site)
            if row.revision != revision and row.holds:
                return self._keep_since(forgotten, key, row)
            try:
                await self._refresher.exchange(row, site, until)
                revision = row.revision
            except UpstreamUnavailable:
                if self._closing or self._clock() + pause > until:
                    self._backoffs.setdefault(key, ConnectBackoff(self._clock, _jitter)).fail()
                    raise
                await asyncio.sleep(pause * (0.5 + _jitter() / 2))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _read(self, key: LoginKey, site: LoginSite) -> OpenLogin:
        forgotten = self._forgotten
        return self._keep_since(forgotten, key, await self._read_row(key, site))

    def _keep_since(self, forgotten: int, key: LoginKey, row: LoginRow) -> OpenLogin:
        """Keep a login, unless it may have changed since it was read: then it serves its reader alone."""
        return self._keep(key, row) if forgotten == self._forgotten else self._open(row)

    async def _read_row(self, key: LoginKey, site: LoginSite) -> LoginRow:
        row = await self.rows.read(key)
        if row is None or row.state == "needed":
            self._drop(key)
            missing = NOT_THERE if key.user_id is None else NOT_YOURS
            raise site.need(missing if row is None else row.reason or ENDED)
        return row

    def _drop(self, key: LoginKey) -> None:
        self._known.pop(key, None)
        self._backoffs.pop(key, None)

    def _keep(self, key: LoginKey, row: LoginRow) -> OpenLogin:
        known = self._known.get(key)
        if known is not None and known.id == row.id and known.revision > row.revision:
            return known  # the row was read before it was renewed
        login = self._open(row)
        self._drop(key)
        self._known[key] = login
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return login

    def _open(self, row: LoginRow) -> OpenLogin:
        credential, now = self.rows.open(row), self._clock()
        if isinstance(credential, HeaderCredential):
            headers = {credential.header: credential.value}
        else:
            headers = {"Authorization": f"Bearer {credential.access_token}"}
        if row.seconds_left is None:
            return OpenLogin(row.id, row.revision, headers, row.kind == "oauth", float("inf"), float("inf"))
        margin = min(MARGIN_SECONDS, MARGIN_SHARE * (row.lifetime or 0))
        ends_at = now + row.seconds_left
        return OpenLogin(row.id, row.revision, headers, row.kind == "oauth", ends_at, ends_at - margin)

    def _note_use(self, login_id: UUID) -> None:
        if self._clock() - self._used.get(login_id, -USE_SECONDS) >= USE_SECONDS:
            self._used[login_id] = self._clock()
            self._unwritten.add(login_id)

    async def look_after(self) -> None:
        """Write down what was used, and take up exchanges whose process died, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.write_use()
            await self.resume()

    async def write_use(self) -> None:
        """Write down which logins were used since the last time."""
        if not self._unwritten:
            return
        used, self._unwritten = self._unwritten, set()
        oldest = self._clock() - USE_SECONDS
        self._used = {login_id: at for login_id, at in self._used.items() if at >= oldest}
        async with self._database.transaction() as transaction:
            await transaction.run(LOGINS["note_use"], ids=list(used))

    async def resume(self) -> int:
        """Take up exchanges that were cut off; the number of those that came to an end.

        An authorization server may take the token of before once more for some seconds. What was seen once only is left
        to its process: that may still be waiting for the database with the new tokens in its hands.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.all(LOGINS["interrupted_logins"], limit=100)
        seen = {(row["id"], row["refreshing_since"]) for row in rows}
        known, self._cut_off = self._cut_off, seen
        again = [_key_of(row) for row in rows if (row["id"], row["refreshing_since"]) in known]
        return (await asyncio.gather(*(self.refresh(key) for key in again))).count("refreshed")

    async def refresh_due(self, *, limit: int = MOST_DUE) -> DueLogins:
        """Renew the logins that end soon and are used often."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(
                LOGINS["due_logins"], ahead_seconds=AHEAD_SECONDS, used_seconds=DAY_SECONDS, limit=limit
            )
        outcomes = Counter(await asyncio.gather(*(self.refresh(_key_of(row)) for row in rows)))
        return DueLogins(len(rows), outcomes["refreshed"], outcomes["needed"], outcomes["failed"])

    async def refresh(self, key: LoginKey) -> Literal["refreshed", "needed", "failed"]:
        """Renew a login that nobody is waiting for."""
        with outlasting("logins"):
            try:
                if (row := await self.rows.read(key)) is not None and row.state == "ready":
                    await asyncio.shield(self._start(key, row.revision, await self._find_site(key.ref)))
            except LoginNeeded:
                return "needed"
            except HubError:
                return "failed"
            else:
                return "refreshed"
        return "failed"


class _LoginSource:
    """Credential source of one login."""

    def __init__(self, logins: Logins, key: LoginKey, site: LoginSite) -> None:
        self._logins = logins
        self._key = key
        self._site = site

    async def headers(self) -> Mapping[str, str]:
        return await self._give(self._logins.current(self._key, self._site))

    async def renew(self, refused: Mapping[str, str]) -> Mapping[str, str]:
        return await self._give(self._logins.replace(self._key, self._site, refused))

    async def _give(self, login: Awaitable[OpenLogin]) -> Mapping[str, str]:
        """Give a login's headers; who shares an exchange with others has the link for oneself in its error."""
        try:
            return (await login).headers
        except LoginNeeded as error:
            reason = error.reason
        raise self._site.need(reason)

    async def ask_for(self, scope: str) -> None:
        raise await self._logins.want_scope(self._key, self._site, scope)


def _unavailable(site: LoginSite, seconds: float) -> UpstreamUnavailable:
    words = f"The login at the server {site.server!r} can't be renewed just now: its authorization server fails."
    return UpstreamUnavailable(site.server, words, seconds)


def _key_of(row: Mapping[str, Any]) -> LoginKey:
    return LoginKey(ServerRef(row["server_type"], row["server_ref_id"]), row["user_id"])
