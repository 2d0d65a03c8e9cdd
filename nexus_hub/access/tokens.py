"""Credentials: the operator's service key and the users' tokens, of which only hashes are stored."""

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import NotAuthenticated, NotConfigured
from nexus_hub.home.layout import Home
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.settings import Settings

USERS = load("users")
MINIMUM_KEY_LENGTH = 16
_TOKEN = re.compile(r"nxh_[A-Za-z0-9_-]{43}")


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


class Authenticator:
    """Finds the holders of bearer tokens."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key = key.encode()

    async def principal(self, token: str | None) -> Principal:
        """Find the holder of a token.

        Raises:
            NotAuthenticated: no token, or one that nobody holds.
        """
        if not token:
            raise NotAuthenticated
        if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._key):
            return OPERATOR
        if not _TOKEN.fullmatch(token):
            raise NotAuthenticated  # without a look into the database, which costs others their turn
        return Principal(await self._user_of(token))

    async def _user_of(self, token: str) -> UUID:
        async with self._database.transaction() as transaction:
            user_id = await transaction.one(USERS["user_of_token"], UUID, token_hash=hash_token(token))
        if user_id is None:
            raise NotAuthenticated
        return user_id
