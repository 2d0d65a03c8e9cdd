"""Rows of the hub's logins at upstream servers: what logs in is sealed, and opened for its own server only."""

import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import CannotOpen, NotFound
from nexus_hub.models import OPERATOR, Principal, ServerRef, ServerType
from nexus_hub.upstream.config import LONGEST_SCOPE
from nexus_hub.upstream.oauth import TokenSet
from nexus_hub.vault.sealing import SealContext, Sealed, Vault

LOGINS = load("logins")
LoginKind = Literal["oauth", "header"]
SHORTEST_SECONDS, LONGEST_SECONDS = 5.0, 3650 * 86400.0
"""The time that a token is taken to hold: an authorization server may say anything."""
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class LoginKey:
    """The server of a login and whose it is; None: the one for all, or the owner's of a user's server."""

    ref: ServerRef
    user_id: UUID | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The key as parameters of the queries."""
        return {
            "server_type": self.ref.server_type,
            "server_ref_id": self.ref.server_ref_id,
            "user_id": self.user_id,
        }


@dataclass(frozen=True, slots=True)
class HeaderCredential:
    """A header that somebody has set for a server, with its whole value."""

    header: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginRow:
    """A login as its row has it; `seconds_left` of its token by the database's clock, None if it names no end."""

    id: UUID
    server_type: ServerType
    server_ref_id: UUID
    user_id: UUID | None
    kind: LoginKind
    sealed: bytes = field(repr=False)
    key_id: str
    state: Literal["ready", "needed"]
    reason: str | None
    revision: int
    seconds_left: float | None
    lifetime: float | None
    refreshing: bool

    @property
    def key(self) -> LoginKey:
        """Its key."""
        return LoginKey(ServerRef(self.server_type, self.server_ref_id), self.user_id)

    @property
    def holds(self) -> bool:
        """True if its token has not ended."""
        return self.seconds_left is None or self.seconds_left > 0


@dataclass(frozen=True, slots=True)
class LoginState:
    """State of a login, with nothing sealed in it."""

    id: UUID
    server_type: ServerType
    server_ref_id: UUID
    user_id: UUID | None
    kind: LoginKind
    state: Literal["ready", "needed"]
    reason: str | None
    scope: str | None
    """The scopes that it has, and those that its server has asked for since."""
    expires_at: datetime | None
    logged_in_at: datetime
    refreshed_at: datetime | None
    last_used_at: datetime | None


class LoginRows:
    """Reads and writes logins."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def read(self, key: LoginKey) -> LoginRow | None:
        """Read a login; None if there is none."""
        async with self._database.transaction() as transaction:
            return await transaction.one(LOGINS["read_login"], LoginRow, **key.parameters)

    async def store(self, key: LoginKey, credential: TokenSet | HeaderCredential) -> None:
        """Store what somebody has logged in with, in place of what was there.

        Raises:
            NotFound: the server was removed.
        """
        async with self._database.transaction() as transaction:
            await self._hold_server(transaction, key.ref)
            stored = None
            while stored is None:
                known = await transaction.one(LOGINS["id_of_login"], UUID, **key.parameters)
                stored = await self._insert(transaction, key, known or uuid4(), credential)

    async def remove(self, key: LoginKey) -> TokenSet | HeaderCredential | None:
        """Remove a login; what it was, for its tokens to be revoked, or None if there was none that can be opened."""
        async with self._database.transaction() as transaction:
            row = await transaction.one(LOGINS["remove_login"], LoginRow, **key.parameters)
        try:
            return None if row is None else self.open(row)
        except CannotOpen:
            return None

    async def list_states(self, principal: Principal, server_ref_id: UUID | None = None) -> list[LoginState]:
        """List the logins that a principal may know of: a user's own ones, and those that are for all."""
        async with self._database.transaction(OPERATOR, bounded=True) as transaction:
            return await transaction.all(
                LOGINS["list_logins"],
                LoginState,
                all_users=principal.is_operator,
                user_id=principal.user_id,
                server_ref_id=server_ref_id,
                limit=MOST_LISTED,
            )

    async def choose_for_catalog(self, ref: ServerRef) -> LoginKey | None:
        """Choose the login that a server's catalog is read with: the one for all, else that of who used it last."""
        async with self._database.transaction() as transaction:
            row = await transaction.one(
                LOGINS["login_for_catalog"], server_type=ref.server_type, server_ref_id=ref.server_ref_id
            )
        return None if row is None else LoginKey(ref, row["user_id"])

    async def want_scope(self, login_id: UUID, scope: str, reason: str) -> None:
        """Note scopes that the next login is to ask for, beside those of before."""
        async with self._database.transaction() as transaction:
            before = await transaction.one(LOGINS["scope_of_login"], id=login_id)
            known = ((before or {}).get("scope") or "").split()
            words = " ".join(dict.fromkeys([*known, *scope.split()]))
            wanted = words if len(words) <= LONGEST_SCOPE else scope[:LONGEST_SCOPE]
            await transaction.run(LOGINS["want_scope"], id=login_id, scope=wanted or None, reason=reason)

    async def forget_scope(self, key: LoginKey) -> None:
        """Forget the scopes that a login has or is to have: its authorization server gives none that asks for them."""
        async with self._database.transaction() as transaction:
            await transaction.run(LOGINS["forget_scope"], **key.parameters)

    async def write(self, transaction: Transaction, row: LoginRow, tokens: TokenSet) -> bool:
        """Write the tokens that a row's were exchanged for; False if somebody has logged in anew meanwhile."""
        sealed = self._seal(row.key, row.id, tokens)
        written = await transaction.run(
            LOGINS["keep_refreshed"],
            id=row.id,
            revision=row.revision,
            sealed=sealed.data,
            key_id=sealed.key_id,
            seconds_left=seconds_left(tokens),
        )
        return bool(written)

    def open(self, row: LoginRow) -> TokenSet | HeaderCredential:
        """Open what a row has sealed.

        Raises:
            CannotOpen: no key opens it, or it was sealed for another server.
        """
        context = SealContext.for_login(row.id, row.user_id)
        opened = self._vault.open_config(context, row.sealed, row.key_id, unbound=False)
        try:
            if opened.pop("server") != str(row.key.ref):
                raise ValueError
            return TokenSet.from_json(opened) if row.kind == "oauth" else HeaderCredential(**opened)
        except (ValueError, KeyError, TypeError):
            raise CannotOpen(str(context), row.key_id) from None

    async def _hold_server(self, transaction: Transaction, ref: ServerRef) -> None:
        if await transaction.one(LOGINS[f"lock_{ref.server_type}_server"], UUID, id=ref.server_ref_id) is None:
            raise NotFound("server", ref)

    async def _insert(
        self, transaction: Transaction, key: LoginKey, login_id: UUID, credential: TokenSet | HeaderCredential
    ) -> UUID | None:
        sealed = self._seal(key, login_id, credential)
        tokens = credential if isinstance(credential, TokenSet) else None
        return await transaction.one(
            LOGINS["store_login"],
            UUID,
            **key.parameters,
            id=login_id,
            kind="oauth" if tokens else "header",
            sealed=sealed.data,
            key_id=sealed.key_id,
            scope=tokens and tokens.scope,
            seconds_left=tokens and seconds_left(tokens),
        )

    def _seal(self, key: LoginKey, login_id: UUID, credential: TokenSet | HeaderCredential) -> Sealed:
        if isinstance(credential, TokenSet):
            content = credential.to_json()
        else:
            content = {"header": credential.header, "value": credential.value}
        context = SealContext.for_login(login_id, key.user_id)
        return self._vault.seal_config(context, {"server": str(key.ref), **content})


def seconds_left(tokens: TokenSet) -> float | None:
    """Reckon how long tokens that came just now hold; None if they name no end."""
    if tokens.expires_at is None or math.isnan(tokens.expires_at):
        return None
    return min(max(tokens.expires_at - time.time(), SHORTEST_SECONDS), LONGEST_SECONDS)
