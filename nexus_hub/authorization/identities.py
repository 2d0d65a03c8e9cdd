"""Users as an outside issuer names them: a subject stands for a user, by an operator's word or from its first token."""

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus_hub.access import users
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound

IDENTITIES = load("identities")
SEEN_SECONDS = 60.0
"""A subject that comes again is noted once in so many seconds."""
LONGEST_NAME = 64
LONGEST_SUBJECT = 255
LOG = logging.getLogger(__name__)
NOBODY = "No user of this hub stands for the token's subject: an operator says who does, with nexus-hub user map."


@dataclass(frozen=True, slots=True)
class Identity:
    """A subject that stands for a user; `groups` are those of its last token, None the time of one that never came."""

    id: UUID
    issuer: str
    subject: str
    groups: list[str]
    created_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Known:
    user_id: UUID
    is_unnoted: bool


class Identities:
    """The subjects of one issuer."""

    def __init__(self, database: Database, issuer: str, *, creates_users: bool) -> None:
        self._database = database
        self._issuer = issuer
        self._creates_users = creates_users

    async def resolve(self, subject: str, groups: frozenset[str], wished: str) -> UUID:
        """Find a subject's user, who is made if that is allowed, with a name as near to `wished` as may be.

        Raises:
            NotAuthenticated: no user stands for it.
        """
        given: dict[str, Any] = {"issuer": self._issuer, "subject": subject, "groups": sorted(groups)}
        async with self._database.transaction() as transaction:
            known = await transaction.one(IDENTITIES["find_identity"], _Known, **given, seen_seconds=SEEN_SECONDS)
            if known is None and self._creates_users:
                return await self._add(transaction, given, wished)
            if known is not None and known.is_unnoted:
                await transaction.run(IDENTITIES["note_identity"], **given)
        if known is None:
            raise NotAuthenticated(NOBODY)
        return known.user_id

    async def _add(self, transaction: Transaction, given: dict[str, Any], wished: str) -> UUID:
        """Make a user of a new name; an existing user of that name is somebody else."""
        await transaction.one(IDENTITIES["lock_subject"], issuer=given["issuer"], subject=given["subject"])
        known = await transaction.one(IDENTITIES["find_identity"], _Known, **given, seen_seconds=SEEN_SECONDS)
        if known is not None:
            return known.user_id
        for name in propose_names(wished, given["issuer"], given["subject"]):
            user_id = await transaction.one(IDENTITIES["add_named_user"], UUID, name=name)
            if user_id is not None:
                await transaction.run(IDENTITIES["add_identity"], user_id=user_id, **given)
                LOG.info("a new subject of NEXUS_ISSUER becomes the user %s", user_id)
                return user_id
        raise NotAuthenticated(NOBODY)


def is_subject(value: object) -> bool:
    """Tell if a claim can be told apart from others, and stored."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_SUBJECT and value.isprintable()


def propose_names(wished: str, issuer: str, subject: str) -> Iterator[str]:
    """Propose names for a new user: the one wished for as the rules allow it, then with a mark of the subject."""
    mark = hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()
    plain = unicodedata.normalize("NFKD", wished).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._@-]+", "-", plain).strip("._@-")
    if users.is_name(name[:LONGEST_NAME]):
        yield name[:LONGEST_NAME]
    for length in (8, 32):
        yield f"{(name or 'user')[: LONGEST_NAME - length - 1]}-{mark[:length]}"


async def map_subject(database: Database, user: str, issuer: str, subject: str) -> Identity:
    """Let a subject of an issuer stand for a user.

    Raises:
        NotFound: there is no such user.
        InvalidRequest: it is none that a token could have.
        Conflict: it stands for another user.
    """
    if not is_subject(subject):
        raise InvalidRequest("A subject has 1 to 255 characters that can be printed.")
    user_id = await _find_own(database, user)
    async with database.transaction() as transaction:
        made = await transaction.one(
            IDENTITIES["map_subject"], Identity, issuer=issuer, subject=subject, user_id=user_id
        )
    if made is None:
        raise Conflict("This subject stands for another user; remove it there first: nexus-hub user unmap")
    return made


async def list_identities(database: Database, user: str) -> list[Identity]:
    """List the subjects that stand for a user.

    Raises:
        NotFound: there is no such user.
    """
    user_id = await _find_own(database, user)
    async with database.transaction() as transaction:
        return await transaction.all(IDENTITIES["list_identities"], Identity, user_id=user_id)


async def remove(database: Database, user: str, identity: UUID) -> None:
    """Let a subject stand for a user no longer.

    Raises:
        NotFound: there is no such user, or it does not stand for that one.
    """
    user_id = await _find_own(database, user)
    async with database.transaction() as transaction:
        removed = await transaction.run(IDENTITIES["remove_identity"], id=identity, user_id=user_id)
    if not removed:
        raise NotFound("identity", str(identity))


async def _find_own(database: Database, user: str) -> UUID:
    """Find a user of the hub's own."""
    user_id = await users.find(database, user)
    async with database.transaction() as transaction:
        if not await transaction.only(IDENTITIES["has_user"], bool, user_id=user_id):
            raise NotFound("user", user)
    return user_id
