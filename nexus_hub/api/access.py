"""Dependencies of the routes: the runtime, and the principal who asks."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nexus_hub.errors import NotAllowed, NotAuthenticated
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime

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


async def require_operator(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """Let only the operator through.

    Raises:
        NotAllowed: somebody else asks.
    """
    if not principal.is_operator:
        raise NotAllowed("Only an operator may do this; send the service key.")
    return principal


RuntimeOf = Annotated[Runtime, Depends(get_runtime)]
Asking = Annotated[Principal, Depends(get_principal)]
Operating = Annotated[Principal, Depends(require_operator)]


def choose_owner(principal: Principal, owner: UUID | None) -> UUID | None:
    """Choose the owner of a new thing: an operator may name one, a user is always its own.

    Raises:
        NotAllowed: a user names somebody else.
    """
    if principal.is_operator or owner in (None, principal.user_id):
        return owner or principal.user_id
    raise NotAllowed("Only an operator may register a server for somebody else.")
