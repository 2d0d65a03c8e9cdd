"""Who asks: the dependencies of all routes."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from nexus_hub.access.tokens import Authenticator
from nexus_hub.errors import NotAllowed
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime


def runtime_of(request: Request) -> Runtime:
    """The process's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def principal_of(request: Request) -> Principal:
    """The holder of the request's bearer token.

    Raises:
        NotAuthenticated: there is no token, or nobody holds it.
    """
    authenticator: Authenticator = request.app.state.authenticator
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return await authenticator.principal(token.strip() if scheme.lower() == "bearer" else None)


async def operator_of(principal: Annotated[Principal, Depends(principal_of)]) -> Principal:
    """The operator.

    Raises:
        NotAllowed: somebody else asks.
    """
    if not principal.is_operator:
        raise NotAllowed("Only an operator may do this; send the service key.")
    return principal


RuntimeOf = Annotated[Runtime, Depends(runtime_of)]
Asking = Annotated[Principal, Depends(principal_of)]
Operating = Annotated[Principal, Depends(operator_of)]


def owner_of(principal: Principal, owner: UUID | None) -> UUID | None:
    """Whose a new thing is: an operator may name an owner, a user is always its own.

    Raises:
        NotAllowed: a user names somebody else.
    """
    if principal.is_operator or owner in (None, principal.user_id):
        return owner or principal.user_id
    raise NotAllowed("Only an operator may register a server for somebody else.")
