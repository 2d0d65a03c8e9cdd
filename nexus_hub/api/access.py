"""Dependencies of the routes: the runtime, the principal who asks, and its turn."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nexus_hub.access.scopes import find_route_need, require
from nexus_hub.access.turns import Turns
from nexus_hub.errors import NotAllowed, NotAuthenticated
from nexus_hub.jobs.store import TakeTurn
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime
from nexus_hub.settings import Settings

_SCHEME = HTTPBearer(
    scheme_name="token", auto_error=False, description="A user's token, or the operator's service key."
)
"""Names the scheme in the OpenAPI document; the token was looked at when the request was admitted."""


async def get_runtime(request: Request) -> Runtime:
    """Get the process's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_principal(
    request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]
) -> Principal:
    """Get the holder of the request's token, who was found when it was admitted.

    Raises:
        NotAuthenticated: nobody was.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise NotAuthenticated
    return principal


async def check_scopes(request: Request) -> None:
    """Let only those through whose token is good for the route.

    Raises:
        InsufficientScope: it is not.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None:
        require(principal, find_route_need(request.method, request.scope["route"].path))


async def require_operator(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """Let only the operator through.

    Raises:
        NotAllowed: somebody else asks.
    """
    if not principal.is_operator:
        raise NotAllowed("Only an operator may do this; send the service key.")
    return principal


@dataclass(frozen=True)
class Lanes:
    """The turns of each kind of work; what one user asks for leaves connections and the event loop to others."""

    streams: Turns
    reads: Turns = field(default_factory=lambda: Turns("reads of streams", per_user=4))
    heavy: Turns = field(default_factory=lambda: Turns("searches, lists and batches", per_user=1, in_all=4))
    large: Turns = field(default_factory=lambda: Turns("large results", per_user=2, in_all=12))
    upstream: Turns = field(default_factory=lambda: _inspections(2))
    log_ins: Turns = field(default_factory=lambda: Turns("log-ins", per_user=4, user="address"))

    @classmethod
    def of(cls, settings: Settings) -> "Lanes":
        """Make the lanes that the settings ask for."""
        streams = Turns("event streams (NEXUS_USER_STREAMS)", per_user=settings.user_streams, patience=0)
        return cls(streams, upstream=_inspections(settings.max_user_inspections))


def _inspections(per_user: int) -> Turns:
    return Turns("requests that reach a server (NEXUS_MAX_USER_INSPECTIONS)", per_user=per_user)


def get_lanes(request: Request) -> Lanes:
    """Get the process's turns."""
    lanes: Lanes = request.app.state.lanes
    return lanes


RuntimeOf = Annotated[Runtime, Depends(get_runtime)]
Asking = Annotated[Principal, Depends(get_principal)]
Operating = Annotated[Principal, Depends(require_operator)]
LanesOf = Annotated[Lanes, Depends(get_lanes)]


async def _take_heavy(principal: Asking, lanes: LanesOf) -> AsyncIterator[None]:
    async with lanes.heavy.turn(principal):
        yield


async def _take_upstream(principal: Asking, lanes: LanesOf) -> AsyncIterator[None]:
    async with lanes.upstream.turn(principal):
        yield


async def _take_large(principal: Asking, lanes: LanesOf) -> AsyncIterator[TakeTurn]:
    async with lanes.large.later(principal) as take:
        yield take


LargeTurn = Annotated[TakeTurn, Depends(_take_large)]
"""The turn of a large result: it is in memory until the reader has taken it, so the turn lasts until then."""

# They end before the answer is sent: who reads slowly keeps no turn.
HEAVY = [Depends(_take_heavy, scope="function")]
UPSTREAM = [Depends(_take_upstream, scope="function")]


def choose_owner(principal: Principal, owner: UUID | None) -> UUID | None:
    """Choose the owner of a new thing: an operator may name one, a user is always its own.

    Raises:
        NotAllowed: a user names somebody else.
    """
    if principal.is_operator or owner in (None, principal.user_id):
        return owner or principal.user_id
    raise NotAllowed("Only an operator may register a server for somebody else.")
