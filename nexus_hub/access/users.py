"""The hub's own users."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.errors import UniqueViolation

from nexus_hub.access.tokens import USERS
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidName, NameTaken, NotFound

MOST_JOBS = 10_000
ME = "me"
"""The name by which a user calls himself, so that nobody bears it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class User:
    """A user of the hub's own."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TokenHolder(User):
    """A user with the numbers of tokens that still work and of open jobs, and the time of the newest job."""

    tokens: int
    open_jobs: int
    last_job_at: datetime | None


async def add(database: Database, name: str) -> User:
    """Add a user.

    Raises:
        InvalidName: 1 to 64 characters of letters, digits and `._@-` are allowed.
        NameTaken: there is a user of that name.
    """
    if not is_name(name):
        rule = "use 1 to 64 letters, digits and ._@- with a letter or digit first, no uuid, and not me"
        raise InvalidName("user", name, rule)
    try:
        async with database.transaction() as transaction:
            return await transaction.only(USERS["add_user"], User, name=name)
    except UniqueViolation:
        raise NameTaken("user", name) from None


async def list_users(database: Database) -> list[TokenHolder]:
    """List all users by name."""
    async with database.transaction(bounded=True) as transaction:
        return await transaction.all(USERS["list_users"], TokenHolder, most_jobs=MOST_JOBS)


async def find(database: Database, user: str) -> UUID:
    """Find the id of a user given by name or uuid; a uuid may be of an outside issuer and is taken as it is.

    Raises:
        NotFound: no user has that name.
    """
    if is_uuid(user):
        return UUID(user)
    async with database.transaction() as transaction:
        user_id = await transaction.one(USERS["find_user"], UUID, name=user)
    if user_id is None:
        raise NotFound("user", user)
    return user_id


def is_name(text: str) -> bool:
    """Tell if a user can have a name."""
    return _NAME.fullmatch(text) is not None and not is_uuid(text) and text != ME


def is_uuid(text: str) -> bool:
    """Tell if a text is an id."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
