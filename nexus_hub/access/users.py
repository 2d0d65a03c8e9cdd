"""The hub's own users and their tokens."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.errors import UniqueViolation

from nexus_hub.access.tokens import USERS, hash_token, new_token
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidName, NameTaken, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class User:
    """A user of the hub's own."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TokenHolder(User):
    """A user with the number of tokens that still work."""

    tokens: int


async def add(database: Database, name: str) -> User:
    """Add a user.

    Raises:
        InvalidName: 1 to 64 characters of letters, digits and `._@-` are allowed.
        NameTaken: there is a user of that name.
    """
    if not _NAME.fullmatch(name) or _is_uuid(name):
        raise InvalidName("user", name, "use 1 to 64 letters, digits and ._@- with a letter or digit first, no uuid")
    try:
        async with database.transaction() as transaction:
            return await transaction.only(USERS["add_user"], User, name=name)
    except UniqueViolation:
        raise NameTaken("user", name) from None


async def list_users(database: Database) -> list[TokenHolder]:
    """List all users by name."""
    async with database.transaction() as transaction:
        return await transaction.all(USERS["list_users"], TokenHolder)


async def find(database: Database, user: str) -> UUID:
    """Find the id of a user given by name or uuid; a uuid may be of an outside issuer and is taken as it is.

    Raises:
        NotFound: no user has that name.
    """
    if _is_uuid(user):
        return UUID(user)
    async with database.transaction() as transaction:
        user_id = await transaction.one(USERS["find_user"], UUID, name=user)
    if user_id is None:
        raise NotFound("user", user)
    return user_id


async def issue_token(database: Database, user: str) -> str:
    """Make a token for a user; this is the only time it is seen.

    Raises:
        NotFound: there is no such user.
    """
    token = new_token()
    async with database.transaction() as transaction:
        added = await transaction.run(USERS["add_token"], user=user, token_hash=hash_token(token))
    if not added:
        raise NotFound("user", user)
    return token


async def revoke_tokens(database: Database, user: str) -> int:
    """Revoke all tokens of a user; the number of those that worked.

    Raises:
        NotFound: there is no such user.
    """
    user_id = await find(database, user)
    async with database.transaction() as transaction:
        return await transaction.run(USERS["revoke_tokens"], user_id=user_id)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
