"""Grants: what people have let clients do for them, with the codes and tokens that came of it.

All that a grant gave goes with it, so that a code or a refresh token that is sent a second time ends its whole family.
"""

import base64
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict
from uuid import UUID

from nexus_hub.access.tokens import hash_token
from nexus_hub.authorization.clients import OAUTH, host_of
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import NotFound
from nexus_hub.models import Principal

CODE_SECONDS = 60
ACCESS_SECONDS = 3600
REFRESH_SECONDS = 30 * 24 * 3600
GRACE_SECONDS = 10
"""A refresh whose answer was lost may be repeated for so long: it gives the very same tokens."""
MOST_GRANTS = 100
"""Grants of one holder; one more takes the place of that which was used the longest ago."""
MOST_TOKENS = 2000
"""Tokens of one grant, used ones among them: more than a client needs that refreshes by the hour for a month."""
MOST_PURGED = 1000
CLIENT_DAYS = 365
"""A client without a grant stays for so many days after somebody has consented to it."""
REFRESH = "refresh_token"


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """The tokens that an exchange gives; this is the only time they are seen."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A code or token as it is kept, with what its grant says."""

    grant_id: UUID
    kind: Literal["code", "access", "refresh"]
    scopes: list[str]
    redirect_uri: str | None
    redirect_given: bool | None
    code_challenge: str | None = field(repr=False)
    expires_at: float
    is_over: bool
    is_used: bool
    is_repeated: bool
    client_id: str
    resource: str
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant as its holder sees it."""

    id: UUID
    user_id: UUID | None
    user_name: str | None
    client_id: str
    client_name: str
    is_document: bool
    redirect_uris: list[str]
    scopes: list[str]
    resource: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime

    @property
    def host(self) -> str | None:
        """The host that vouches for the client's name."""
        return host_of(self.client_id) if self.is_document else None


class Grants:
    """Makes grants, exchanges what they gave, and ends them."""

    def __init__(self, database: Database, key: str, on_end: Callable[[], None]) -> None:
        """Tell `on_end` of each end that was seen here; other processes hear of it from the database."""
        self._database = database
        self._on_end = on_end
        self._key_mark = mark_key(key)
        self._derivation_key = hmac.digest(key.encode(), b"nexus-hub oauth tokens", "sha256")

    async def grant(self, request_id: UUID, principal: Principal, scopes: Sequence[str]) -> str | None:
        """Grant what a request asks for, once, and give the code for it; None if there is no such request."""
        code = f"nxo_{secrets.token_urlsafe(32)}"
        async with self._database.transaction() as transaction:
            made = await transaction.run(
                OAUTH["grant"],
                request_id=request_id,
                code_hash=hash_token(code),
                scopes=list(scopes),
                seconds=CODE_SECONDS,
                most=MOST_GRANTS,
                **self._holder(principal),
            )
        return code if made else None

    async def find(self, token: str) -> HeldToken | None:
        """Find a code or token of any kind."""
        async with self._database.transaction() as transaction:
            return await self._find(transaction, token)

    async def find_code(self, code: str, client_id: str) -> HeldToken | None:
        """Find a client's code; one that was used before ends all that it gave."""
        async with self._ending() as family:
            held = await self._find(family.transaction, code)
            if held is None or held.kind != "code" or held.client_id != client_id:
                return None
            if held.is_used:
                await family.end(held.grant_id)
            return None if held.is_used or held.is_over else held

    async def exchange(self, code: str, *, refreshable: bool) -> IssuedTokens | None:
        """Exchange a code for tokens, once; None if it is good no more."""
        async with self._ending() as family:
            held = await self._find(family.transaction, code)
            if held is None or held.is_over:
                return None
            if held.is_used:
                await family.end(held.grant_id)
                return None
            tokens = self._derive(code, held.scopes, refreshable=refreshable)
            await _issue(family.transaction, held, code, tokens)
        return tokens

    async def refresh(self, token: str, scopes: Sequence[str]) -> IssuedTokens | None:
        """Exchange a refresh token for new tokens; None if it is good no more.

        One that was used before ends its family, unless it is the same request over again, whose answer was lost: the
        tokens are derived from it, so that they are the same ones, and nobody has used them yet.
        """
        async with self._ending() as family:
            held = await self._find(family.transaction, token)
            if held is None or held.kind != "refresh" or held.is_over:
                return None
            tokens = self._derive(token, scopes, refreshable=True)
            if not held.is_used:
                await _issue(family.transaction, held, token, tokens)
            elif not (held.is_repeated and await _are_live(family.transaction, held, tokens)):
                await family.end(held.grant_id)
                return None
        return tokens

    async def end_family(self, grant_id: UUID) -> None:
        """End a grant, whoever holds it."""
        async with self._ending() as family:
            await family.end(grant_id)

    async def end(self, grant_id: UUID, principal: Principal) -> None:
        """End a grant of a holder's own; the operator may end any.

        Raises:
            NotFound: there is none.
        """
        async with self._ending() as family:
            await family.end(grant_id, is_any=principal.is_operator, **self._holder(principal))
        if not family.ended:
            raise NotFound("grant", grant_id)

    async def list_grants(self, principal: Principal) -> list[GrantRow]:
        """List a holder's grants, those used lately first; the operator sees all."""
        async with self._database.transaction(bounded=True) as transaction:
            return await transaction.all(
                OAUTH["list_grants"], GrantRow, is_any=principal.is_operator, most=1000, **self._holder(principal)
            )

    def _holder(self, principal: Principal) -> "_GrantHolder":
        return {"user_id": principal.user_id, "key_mark": self._key_mark if principal.is_operator else None}

    async def _find(self, transaction: Transaction, token: str) -> HeldToken | None:
        await transaction.run(OAUTH["lock_family"], token_hash=hash_token(token))
        return await transaction.one(
            OAUTH["find_token"],
            HeldToken,
            token_hash=hash_token(token),
            key_mark=self._key_mark,
            grace_seconds=GRACE_SECONDS,
        )

    @asynccontextmanager
    async def _ending(self) -> AsyncIterator["_Family"]:
        async with self._database.transaction() as transaction:
            family = _Family(transaction)
            yield family
        if family.ended:
            self._on_end()

    def _derive(self, used: str, scopes: Sequence[str], *, refreshable: bool) -> IssuedTokens:
        """Derive the tokens that come of another one, with a key that only the hub has."""
        kept = sorted(scopes)

        def derive(prefix: str) -> str:
            message = "\n".join((prefix, used, *kept)).encode()
            digest = hmac.digest(self._derivation_key, message, "sha256")
            return prefix + base64.urlsafe_b64encode(digest).decode().rstrip("=")

        return IssuedTokens(derive("nxa_"), derive("nxr_") if refreshable else None, kept)


class _GrantHolder(TypedDict):
    user_id: UUID | None
    key_mark: bytes | None


class _Family:
    """A transaction in which a grant may be ended."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.ended = 0

    async def end(
        self, grant_id: UUID, *, is_any: bool = True, user_id: UUID | None = None, key_mark: bytes | None = None
    ) -> None:
        self.ended += await self.transaction.run(
            OAUTH["end_grant"], grant_id=grant_id, is_any=is_any, user_id=user_id, key_mark=key_mark
        )


async def _issue(transaction: Transaction, held: HeldToken, used: str, tokens: IssuedTokens) -> None:
    await transaction.run(OAUTH["use_token"], token_hash=hash_token(used))
    given = [(tokens.access_token, "access", tokens.scopes, ACCESS_SECONDS)]
    if tokens.refresh_token is not None:  # it keeps the scopes of the grant, whatever this access token is for
        given.append((tokens.refresh_token, "refresh", held.scopes, REFRESH_SECONDS))
    for token, kind, scopes, seconds in given:
        await transaction.run(
            OAUTH["add_token"],
            token_hash=hash_token(token),
            grant_id=held.grant_id,
            kind=kind,
            scopes=scopes,
            seconds=seconds,
        )
    await transaction.run(OAUTH["trim_grant"], grant_id=held.grant_id, most=MOST_TOKENS)
    await transaction.run(OAUTH["prolong_grant"], grant_id=held.grant_id, seconds=given[-1][-1])


async def _are_live(transaction: Transaction, held: HeldToken, tokens: IssuedTokens) -> bool:
    hashes = [hash_token(token) for token in (tokens.access_token, tokens.refresh_token) if token is not None]
    live = await transaction.only(OAUTH["count_live"], int, grant_id=held.grant_id, hashes=hashes)
    return live == len(hashes)


def mark_key(key: str) -> bytes:
    """Derive a mark of the operator's key, which says nothing about it."""
    return hmac.digest(key.encode(), b"nexus-hub oauth grants", "sha256")


async def purge(database: Database) -> int:
    """Delete what is over, in batches; how much."""
    total, purged = 0, 1
    while purged:
        async with database.transaction() as transaction:
            purged = await transaction.only(OAUTH["purge"], int, limit=MOST_PURGED, client_days=CLIENT_DAYS)
        total += purged
    return total
