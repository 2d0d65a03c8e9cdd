"""API tokens of users: made, listed and revoked."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from nexus_hub.access import users
from nexus_hub.access.tokens import USERS, hash_token, new_token
from nexus_hub.db.pool import Database
from nexus_hub.errors import Conflict, NotFound
from nexus_hub.models import Scope

MOST_TOKENS = 100
"""Tokens of one user that are good at the same time, and the tokens that are over which the lists keep."""
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of a user, without its secret; `scopes` None: it is good for all that the user may do."""

    id: UUID
    name: str | None
    scopes: list[Scope] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenWish:
    """A token as it is asked for."""

    name: str | None = None
    scopes: frozenset[Scope] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token; this is the only time that it is seen."""

    token: str = field(repr=False)
    about: ApiToken


async def issue(database: Database, user: str, wish: TokenWish = TokenWish()) -> IssuedToken:
    """Make a token for a user given by name or uuid.

    Raises:
        NotFound: there is no such user.
        Conflict: the user has as many good ones as are allowed.
    """
    token, user_id = new_token(), await users.find(database, user)
    async with database.transaction() as transaction:
        if await transaction.one(USERS["lock_user"], UUID, user_id=user_id) is None:
            raise NotFound("user", user)
        counts = await transaction.only(USERS["count_tokens"], user_id=user_id)
        if counts["good"] >= MOST_TOKENS:
            raise Conflict(f"A user has {MOST_TOKENS} tokens at most; revoke one first.")
        if counts["over"] > MOST_TOKENS:
            await transaction.run(USERS["remove_old_tokens"], user_id=user_id, most=MOST_TOKENS)
        about = await transaction.only(
            USERS["add_token"],
            ApiToken,
            user_id=user_id,
            token_hash=hash_token(token),
            name=wish.name,
            scopes=None if wish.scopes is None else sorted(wish.scopes),
            expires_at=wish.expires_at,
        )
    return IssuedToken(token, about)


async def list_tokens(database: Database, user: str) -> list[ApiToken]:
    """List a user's tokens, the newest first: those that are good, and the last of those that are over.

    Raises:
        NotFound: no user has that name.
    """
    user_id = await users.find(database, user)
    async with database.transaction(bounded=True) as transaction:
        return await transaction.all(USERS["list_tokens"], ApiToken, user_id=user_id, most=3 * MOST_TOKENS)


async def revoke(database: Database, user: str, token_id: UUID) -> ApiToken:
    """Revoke one token of a user.

    Raises:
        NotFound: there is no such user, or that user has no such token.
    """
    user_id = await users.find(database, user)
    async with database.transaction() as transaction:
        revoked = await transaction.one(USERS["revoke_token"], ApiToken, user_id=user_id, id=token_id)
    if revoked is None:
        raise NotFound("token", token_id)
    return revoked


async def revoke_all(database: Database, user: str) -> int:
    """Revoke all tokens of a user, with sign-in links and grants to clients; the number of tokens that worked.

    Raises:
        NotFound: no user has that name.
    """
    user_id = await users.find(database, user)
    async with database.transaction() as transaction:
        return await transaction.run(USERS["revoke_tokens"], user_id=user_id)
