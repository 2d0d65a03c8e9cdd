"""`/v1/users/{user}/identities`: the subjects of the outside issuer that stand for a user; for operators only."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.queries import described
from nexus_hub.authorization import identities
from nexus_hub.errors import InvalidRequest

router = APIRouter(prefix="/v1/users/{user}/identities", tags=["users"], responses=answers(403, 404))


class NewIdentity(Body):
    """A subject to stand for a user."""

    subject: str = described(..., minLength=1, maxLength=255)


@router.post("", status_code=201, responses=answers(409))
async def map_subject(user: str, body: NewIdentity, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Let a subject of the issuer stand for a user."""
    issuer = runtime.settings.issuer
    if issuer is None:
        raise InvalidRequest("The hub knows no issuer; set NEXUS_ISSUER.")
    return await identities.map_subject(runtime.database, user, issuer, body.subject)


@router.get("")
async def list_identities(user: str, _operator: Operating, runtime: RuntimeOf) -> Any:
    """List the subjects that stand for a user."""
    return {"items": await identities.list_identities(runtime.database, user), "next_cursor": None}


@router.delete("/{identity_id}", status_code=204)
async def remove_identity(
    user: str, identity_id: UUID, _operator: Operating, runtime: RuntimeOf, request: Request
) -> None:
    """Let a subject stand for a user no longer."""
    await identities.remove(runtime.database, user, identity_id)
    request.app.state.authenticator.forget()  # here at once, in other processes by the database's notice
