"""States of requests that wait for input: sealed, of one caller and one request, short-lived and good for one use.

A client carries them and gives them back with its answers; it can neither read nor change them.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from mcp import MCPError
from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState
from mcp_types import INVALID_PARAMS

from nexus_hub.clock import RemoteClock
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.json_text import write
from nexus_hub.models import Principal, ServerRef
from nexus_hub.upstream.peer import ANSWER_SECONDS
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall
from nexus_hub.upstream.rounds import MAX_STATE_BYTES
from nexus_hub.vault.keyring import Keyring, KeyringSource

STATES = load("states")
Resumable = ToolCall | ResourceRead | PromptGet
"""Requests that may be answered with a wish for input."""
MAX_SEALED_CHARACTERS = 9 * MAX_STATE_BYTES
"""More than the largest state takes once it is sealed: JSON writes some of its bytes as 6, base64 any 3 as 4."""
_VERSION = 1

Reason = Literal["forged", "expired", "other-caller", "other-request", "used", "lost"]
_REASONS: dict[Reason, str] = {
    "forged": "this hub did not make it, or it was changed on its way",
    "expired": f"it is good for {ANSWER_SECONDS / 60:g} minutes",
    "other-caller": "it was made for another caller",
    "other-request": "it was made for another request: send the same name and arguments again",
    "used": "it was used before, and is good for one use",
    "lost": (
        "the call that it continues waits in another process of the hub, or ended with its process: send the retry "
        "again if the hub runs as several processes, else make the call anew"
    ),
}


def refuse(reason: Reason) -> MCPError:
    """Make the error of a state that is not accepted."""
    return MCPError(INVALID_PARAMS, f"The requestState is not accepted: {_REASONS[reason]}.", {"reason": reason})


@dataclass(frozen=True, slots=True)
class Binding:
    """A caller and a request; a state of one can't be used with another."""

    principal: Principal
    request: str

    @classmethod
    def of(cls, principal: Principal, ref: ServerRef, request: Resumable) -> "Binding":
        """Name a caller's request by a digest of its server, its kind, its name and its arguments."""
        identity = [request.uri] if isinstance(request, ResourceRead) else [request.name, request.arguments]
        text = write([str(ref), type(request).__name__, *identity], sort_keys=True, allow_nan=True)
        return cls(principal, hashlib.sha256(text).hexdigest())


@dataclass(frozen=True, slots=True)
class State:
    """State of a request that waits: its server's own, or the call that this process holds open."""

    upstream: str | None = None
    process: str | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    state: State
    id: UUID
    expires: float


class StateSeal:
    """Seals states under keys made from those of the vault, and opens each of them once, whichever process made it."""

    def __init__(self, database: Database, keyring: KeyringSource, clock: RemoteClock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._known: tuple[Keyring, AESGCMRequestStateCodec] | None = None

    def seal(self, binding: Binding, state: State) -> str:
        """Seal a state, for one retry of the request."""
        claims = {
            "v": _VERSION,
            "id": uuid4().hex,
            "exp": self._clock.time() + ANSWER_SECONDS,
            "user": _name(binding.principal),
            "request": binding.request,
            "state": [state.upstream, state.process, state.call],
        }
        return self._codec().seal(json.dumps(claims, separators=(",", ":")).encode())

    def open(self, binding: Binding, sealed: Any) -> _Opened:
        """Open a state; it counts as used only by `use`.

        Raises:
            MCPError: it is forged, altered, expired, or of another caller or request.
        """
        claims = self._unseal(sealed)
        if claims["exp"] <= self._clock.time():
            raise refuse("expired")
        if claims["user"] != _name(binding.principal):
            raise refuse("other-caller")
        if claims["request"] != binding.request:
            raise refuse("other-request")
        return _Opened(State(*claims["state"]), UUID(claims["id"]), claims["exp"])

    async def use(self, opened: _Opened) -> None:
        """Use a state up, for all processes of the hub.

        Raises:
            MCPError: it was used before.
            DatabaseUnavailable: nobody can say.
        """
        until = datetime.fromtimestamp(opened.expires, UTC)
        async with self._database.transaction() as transaction:
            if not await transaction.run(STATES["use_state"], id=opened.id, expires_at=until):
                raise refuse("used")

    def _unseal(self, sealed: Any) -> dict[str, Any]:
        if not isinstance(sealed, str) or len(sealed) > MAX_SEALED_CHARACTERS or not sealed.isascii():
            raise refuse("forged")
        try:
            claims: dict[str, Any] = json.loads(self._codec().unseal(sealed))
        except InvalidRequestState:
            claims = {}
        if claims.get("v") != _VERSION:
            raise refuse("forged")
        return claims

    def _codec(self) -> AESGCMRequestStateCodec:
        """Give the SDK's codec over the keys that the vault has now."""
        ring = self._keyring.current()
        if self._known is None or self._known[0] != ring:
            keys = [key.material for key in (ring.primary, *ring.others)]
            self._known = ring, AESGCMRequestStateCodec(list(dict.fromkeys(keys)))
        return self._known[1]


def _name(principal: Principal) -> str:
    return "operator" if principal.user_id is None else str(principal.user_id)
