"""Dependencies of the routes: the runtime, the principal who asks, and its turn."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from nexus_hub.access.tokens import Authenticator
from nexus_hub.access.turns import Turns
from nexus_hub.errors import NotAllowed
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime


def get_runtime(request: Request) -> Runtime:
    """Get the process's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def authenticate(request: Request) -> Principal:
    """Find the holder of the request's bearer token.

    Raises:
        NotAuthenticated: there is no token, or nobody holds it.
    """
    authenticator: Authenticator = request.app.state.authenticator
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return await authenticator.principal(token.strip() if scheme.lower() == "bearer" else None)


async def require_operator(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    """Let only the operator through.

    Raises:
        NotAllowed: somebody else asks.
    """
    if not principal.is_operator:
        raise NotAllowed("Only an operator may do this; send the service key.")
    return principal


@dataclass(frozen=True)
class Admission:
    """The turns of each kind of request; what one user asks for leaves connections and the event loop to others."""

    light: Turns = field(default_factory=lambda: Turns("requests", per_user=4))
    heavy: Turns = field(default_factory=lambda: Turns("searches, lists and batches", per_user=1, in_all=4))
    upstream: Turns = field(default_factory=lambda: Turns("requests that reach a server", per_user=2))
    streams: Turns = field(default_factory=lambda: Turns("event streams", per_user=100, patience=0))


def get_admission(request: Request) -> Admission:
    """Get the process's turns."""
    admission: Admission = request.app.state.admission
    return admission


RuntimeOf = Annotated[Runtime, Depends(get_runtime)]
Asking = Annotated[Principal, Depends(authenticate)]
Operating = Annotated[Principal, Depends(require_operator)]
AdmissionOf = Annotated[Admission, Depends(get_admission)]


async def _take_light(principal: Asking, admission: AdmissionOf) -> AsyncIterator[None]:
    async with admission.light.turn(principal):
        yield


async def _take_heavy(principal: Asking, admission: AdmissionOf) -> AsyncIterator[None]:
    async with admission.heavy.turn(principal):
        yield


async def _take_upstream(principal: Asking, admission: AdmissionOf) -> AsyncIterator[None]:
    async with admission.upstream.turn(principal):
        yield


# They end before the answer is sent: who reads slowly keeps no turn.
LIGHT = [Depends(_take_light, scope="function")]
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
