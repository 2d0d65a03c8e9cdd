"""Sessions of the console: a cookie in place of a token, which a browser could not keep from its pages."""

import hmac
import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from nexus_hub.access.tokens import Authenticator, hash_token
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import NotAuthenticated, NotFound
from nexus_hub.models import Principal, Scope

CONSOLE = load("console")
LONGEST_SECONDS = 7 * 24 * 3600
"""A session ends after so long, however much it is used."""
LINK_SECONDS = 600
MOST_SESSIONS = 20
"""Sessions of one token, or of the operator's key: one more ends the one that was used the longest ago."""
MOST_LINKS = 20
"""Links of one token, or of the operator's key, likewise."""
SEEN_SECONDS = 60
"""A session that is used is written down once in so many seconds."""
_SECRET = re.compile(r"nx[sc]_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """An open session."""

    id: UUID
    expires_at: datetime
    user_id: UUID | None
    name: str | None
    """The user's name; None for the operator."""
    scopes: list[Scope] | None = None
    """The scopes of the token that opened it."""
    is_unseen: bool = False

    @property
    def principal(self) -> Principal:
        """The caller for whom it stands."""
        return Principal(self.user_id, None if self.scopes is None else frozenset(self.scopes))


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A code that opens a session, once; this is the only time it is seen."""

    code: str = field(repr=False)
    expires_at: datetime


class ConsoleSessions:
    """Opens, finds and closes sessions; all of them are in the database, so that any process knows them."""

    def __init__(self, database: Database, key: str, authenticator: Authenticator, idle_seconds: float) -> None:
        self._database = database
        self._key_mark = hmac.digest(key.encode(), b"nexus-hub console session", "sha256")
        self._authenticator = authenticator
        self._times = {"idle_seconds": idle_seconds, "longest_seconds": LONGEST_SECONDS}

    async def open(self, token: str, address: str, before: str = "") -> str:
        """Open a session for the holder of a token, in place of that of the cookie `before`; its cookie.

        Raises:
            NotAuthenticated: nobody holds the token.
            TooMany: too many tokens that were not seen before wait to be looked up.
        """
        holder, cookie = await self._find_holder(token, address), _new_secret("nxs_")
        async with self._database.transaction() as transaction:
            opened = await transaction.run(CONSOLE["open_session"], **holder, **self._new(cookie, before))
        if not opened:
            raise NotAuthenticated
        return cookie

    async def open_by_link(self, code: str, address: str, before: str = "") -> str:
        """Open a session with a link's code, which is good no more then, as `open` does; its cookie.

        Raises:
            NotAuthenticated: there is no such link, it was used, or its time is over.
            TooMany: too many codes wait to be looked up.
        """
        if not _SECRET.fullmatch(code):
            raise NotAuthenticated
        cookie = _new_secret("nxs_")
        await self._authenticator.look_up(hash_token(code), address, partial(self._use_link, self._new(cookie, before)))
        return cookie

    async def make_link(self, token: str, address: str) -> LoginLink:
        """Make a link for the holder of a token.

        Raises:
            NotAuthenticated: nobody holds the token.
        """
        holder, code = await self._find_holder(token, address), _new_secret("nxc_")
        async with self._database.transaction() as transaction:
            expires_at = await transaction.one(
                CONSOLE["make_link"],
                datetime,
                code_hash=hash_token(code),
                seconds=LINK_SECONDS,
                most=MOST_LINKS,
                **holder,
            )
        if expires_at is None:
            raise NotAuthenticated
        return LoginLink(code, expires_at)

    async def make_user_link(self, user_id: UUID, seconds: int) -> LoginLink:
        """Make a link for a user, as an operator does for somebody who has no token; it is good for so long.

        Raises:
            NotFound: there is no such user.
        """
        code = _new_secret("nxc_")
        async with self._database.transaction() as transaction:
            expires_at = await transaction.one(
                CONSOLE["make_user_link"],
                datetime,
                code_hash=hash_token(code),
                user_id=user_id,
                seconds=seconds,
                most=MOST_LINKS,
            )
        if expires_at is None:
            raise NotFound("user", user_id)
        return LoginLink(code, expires_at)

    async def find(self, cookie: str, address: str) -> ConsoleSession:
        """Find a cookie's session, and take note that it is used.

        Raises:
            NotAuthenticated: there is none, it has ended, or the token that opened it is good no more.
            TooMany: too many cookies that were not seen before wait to be looked up.
        """
        if not _SECRET.fullmatch(cookie):
            raise NotAuthenticated
        return await self._authenticator.look_up(hash_token(cookie), address, self._find)

    async def close(self, cookie: str) -> None:
        """End a cookie's session, if there is one."""
        async with self._database.transaction() as transaction:
            await transaction.run(CONSOLE["close_session"], cookie_hash=hash_token(cookie))

    async def name_of(self, principal: Principal) -> str:
        """Name a caller."""
        if principal.user_id is None:
            return "operator"
        async with self._database.transaction() as transaction:
            return await transaction.one(CONSOLE["name_user"], str, user_id=principal.user_id) or str(principal.user_id)

    async def _find_holder(self, token: str, address: str) -> dict[str, bytes | None]:
        await self._authenticator.bearer(token, address)
        if self._authenticator.is_key(token):
            return {"token_hash": None, "key_mark": self._key_mark}
        return {"token_hash": hash_token(token), "key_mark": None}

    def _new(self, cookie: str, before: str) -> dict[str, Any]:
        hashes = {"cookie_hash": hash_token(cookie), "before_hash": hash_token(before)}
        return {**hashes, **self._times, "most": MOST_SESSIONS}

    async def _use_link(self, session: dict[str, Any], code_hash: bytes) -> bool | None:
        async with self._database.transaction() as transaction:
            opened = await transaction.run(CONSOLE["use_link"], code_hash=code_hash, **session)
        return True if opened else None

    async def _find(self, cookie_hash: bytes) -> ConsoleSession | None:
        async with self._database.transaction() as transaction:
            session = await transaction.one(
                CONSOLE["find_session"],
                ConsoleSession,
                cookie_hash=cookie_hash,
                key_mark=self._key_mark,
                seen_seconds=SEEN_SECONDS,
            )
            if session is None or not session.is_unseen:
                return session
            expires_at = await transaction.one(CONSOLE["note_session_seen"], datetime, id=session.id, **self._times)
        return session if expires_at is None else replace(session, expires_at=expires_at)


def _new_secret(prefix: str) -> str:
    return f"{prefix}{secrets.token_urlsafe(32)}"
