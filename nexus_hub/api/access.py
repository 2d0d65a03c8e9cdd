"""Dependencies of the routes: the runtime, and the principal who asks."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from nexus_hub.access.tokens import Authenticator
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


RuntimeOf = Annotated[Runtime, Depends(get_runtime)]
Asking = Annotated[Principal, Depends(authenticate)]
Operating = Annotated[Principal, Depends(require_operator)]


def choose_owner(principal: Principal, owner: UUID | None) -> UUID | None:
    """Choose the owner of a new thing: an operator may name one, a user is always its own.

    Raises:
        NotAllowed: a user names somebody else.
    """
    if principal.is_operator or owner in (None, principal.user_id):
        return owner or principal.user_id
    raise NotAllowed("Only an operator may register a server for somebody else.")
