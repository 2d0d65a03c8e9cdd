"""Access tokens that the hub's own authorization server has given to clients."""

import re
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from nexus_hub.access.tokens import Bearer, hash_token
from nexus_hub.authorization.clients import OAUTH
from nexus_hub.authorization.grants import mark_key
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotAuthenticated
from nexus_hub.models import Principal, Scope

SEEN_SECONDS = 60
"""A grant that is used is written down once in so many seconds."""
_TOKEN = re.compile(r"nxa_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Access:
    """An access token as it is kept."""

    user_id: UUID | None
    scopes: list[str]
    resource: str
    seconds_left: float


class BuiltInTokens:
    """Verifies those tokens; this is a TokenVerifier."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key_mark = mark_key(key)

    def takes(self, token: str) -> bool:
        """Tell if a token looks like one of them."""
        return _TOKEN.fullmatch(token) is not None

    async def verify(self, token: str) -> Bearer | None:
        """Look a token up in the database.

        Raises:
            NotAuthenticated: its time is over.
        """
        async with self._database.transaction() as transaction:
            access = await transaction.one(
                OAUTH["find_access"],
                _Access,
                token_hash=hash_token(token),
                key_mark=self._key_mark,
                seen_seconds=SEEN_SECONDS,
            )
        if access is None:
            return None
        if access.seconds_left <= 0:
            raise NotAuthenticated("The access token has expired; refresh it.")
        scopes = frozenset(cast("list[Scope]", access.scopes))
        return Bearer(Principal(access.user_id, scopes), access.resource or None, access.seconds_left)
