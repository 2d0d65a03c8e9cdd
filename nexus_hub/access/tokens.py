"""Credentials: the operator's service key and the users' tokens, of which only hashes are stored."""

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

from nexus_hub.access.last_uses import USED_SECONDS, LastUses
from nexus_hub.access.turns import Turns
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import NotAuthenticated, NotConfigured
from nexus_hub.home.layout import Home
from nexus_hub.models import OPERATOR, Principal, Scope
from nexus_hub.settings import Settings

USERS = load("users")
MINIMUM_KEY_LENGTH = 16
MOST_HELD = 10_000
"""Tokens of which is known that they held at their last lookup."""
TRUST_SECONDS = 5.0
"""The time after its lookup for which a token is trusted, if the database would say that it was revoked."""
_TOKEN = re.compile(r"nxh_[A-Za-z0-9_-]{43}")
T = TypeVar("T")


def new_token() -> str:
    """Make a user's token: `nxh_` and 256 random bits."""
    return f"nxh_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> bytes:
    """Hash a token with SHA-256, to 32 bytes; a token is random, so that no slow hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def service_key(settings: Settings) -> str:
    """Read the operator's key from the environment, else from the home.

    Raises:
        NotConfigured: there is none, or it is shorter than 16 characters.
    """
    given = settings.service_key
    key = given.get_secret_value() if given else _read(Home(settings.home).service_key_file)
    if len(key) < MINIMUM_KEY_LENGTH:
        raise NotConfigured("NEXUS_SERVICE_KEY", f"the hub does not start without one of {MINIMUM_KEY_LENGTH} or more")
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Bearer:
    """The caller for whom a token stands, where, and for how long.

    `resource` is the path for which the token is good, with all below it, such as "/mcp"; None: every path.
    """

    principal: Principal
    resource: str | None = None
    seconds_left: float = math.inf

    def reaches(self, path: str) -> bool:
        """Tell if the token is good at a path."""
        return self.resource is None or path == self.resource or path.startswith(f"{self.resource}/")


_OPERATOR = Bearer(OPERATOR)


class TokenVerifier(Protocol):
    """A kind of tokens, and the means to find their holders."""

    def takes(self, token: str) -> bool:
        """Tell by its form if a token is of this kind."""
        ...

    async def verify(self, token: str) -> Bearer | None:
        """Find a token's holder; None if it is nobody's.

        Raises:
            NotAuthenticated: the token is bad, for a reason that its sender may know.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Holder:
    """The holder of a token, which is good for so many seconds more; `is_unseen`: its use was not noted lately."""

    id: UUID
    user_id: UUID
    scopes: list[Scope] | None
    seconds_left: float
    is_unseen: bool


class ApiTokens:
    """The tokens that the hub itself gives to users."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uses = LastUses(database)

    def takes(self, token: str) -> bool:
        """Tell if a token looks like one of the hub's own."""
        return _TOKEN.fullmatch(token) is not None

    async def verify(self, token: str) -> Bearer | None:
        """Look a token up in the database."""
        async with self._database.transaction() as transaction:
            holder = await transaction.one(
                USERS["user_of_token"], _Holder, token_hash=hash_token(token), used_seconds=USED_SECONDS
            )
        if holder is None:
            return None
        if holder.is_unseen:
            self._uses.note(holder.id)
        scopes = None if holder.scopes is None else frozenset(holder.scopes)
        return Bearer(Principal(holder.user_id, scopes), seconds_left=holder.seconds_left)

    async def close(self) -> None:
        """Note no more which tokens are used."""
        await self._uses.close()


class Authenticator:
    """Finds the holders of bearer tokens.

    A token is looked up by the first verifier that takes it, and trusted for a few seconds after that: the database
    tells all processes at once of one that is revoked, and while that can't be heard, each lookup asks anew. A token
    that held at its last lookup goes first; all others take turns, one of each address at a time, and leave a
    connection free: whoever invents tokens waits for himself.
    """

    def __init__(
        self,
        database: Database,
        key: str,
        clock: Callable[[], float] = time.monotonic,
        verifiers: Sequence[TokenVerifier] = (),
    ) -> None:
        self._key = key.encode()
        self._clock = clock
        self._api_tokens = ApiTokens(database)
        self._verifiers: tuple[TokenVerifier, ...] = (self._api_tokens, *verifiers)
        self._held: dict[bytes, None] = {}
        self._trusted: dict[bytes, tuple[Bearer, float]] = {}
        self._listening = False
        self._others = Turns("lookups of tokens not seen before", per_user=1, in_all=1, user="address")

    def notice(self, is_listening: bool) -> None:
        """Trust no token without another lookup; nor later, unless notices of revoked ones can be heard."""
        self._listening = is_listening
        self.forget()

    def forget(self) -> None:
        """Look each token up before it is trusted again."""
        self._trusted = {}

    async def close(self) -> None:
        """Note no more which tokens are used."""
        await self._api_tokens.close()

    def is_key(self, token: str) -> bool:
        """Tell if a token is the operator's key itself."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._key)

    async def bearer(self, token: str | None, address: str = "") -> Bearer:
        """Find the holder of a token that came from an address.

        Raises:
            NotAuthenticated: no token, one that nobody holds, or a bad one.
            TooMany: too many tokens that were not seen before wait to be looked up.
        """
        if not token:
            raise NotAuthenticated
        if self.is_key(token):
            return _OPERATOR
        verifier = next((one for one in self._verifiers if one.takes(token)), None)
        if verifier is None:
            raise NotAuthenticated  # without a look into the database, which costs others their turn
        token_hash = hash_token(token)
        bearer, until = self._trusted.get(token_hash, (None, 0.0))
        if bearer is not None and self._clock() < until:
            return bearer
        return await self.look_up(token_hash, address, partial(self._verify, verifier, token))

    async def look_up(self, secret_hash: bytes, address: str, find: Callable[[bytes], Awaitable[T | None]]) -> T:
        """Look up what a secret that came from an address stands for, when it is its turn.

        Raises:
            NotAuthenticated: nothing.
            TooMany: too many secrets that were not seen before wait to be looked up.
        """
        async with nullcontext() if secret_hash in self._held else self._others.turn_of(address):
            try:
                found = await find(secret_hash)
                if found is None:
                    raise NotAuthenticated
            except NotAuthenticated:
                self._held.pop(secret_hash, None)
                self._trusted.pop(secret_hash, None)
                raise
        self._held.pop(secret_hash, None)
        self._held[secret_hash] = None
        if len(self._held) > MOST_HELD:
            oldest = next(iter(self._held))
            del self._held[oldest]
            self._trusted.pop(oldest, None)
        return found

    async def _verify(self, verifier: TokenVerifier, token: str, token_hash: bytes) -> Bearer | None:
        began, trusted = self._clock(), self._trusted
        bearer = await verifier.verify(token)
        if bearer is not None and self._listening:  # if a notice came meanwhile, this is what it has thrown away
            trusted[token_hash] = bearer, began + min(TRUST_SECONDS, bearer.seconds_left)
        return bearer
