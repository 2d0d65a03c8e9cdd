"""`/v1/oauth/requests` and `/v1/grants`: consent to what clients ask for, and an end to it."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from nexus_hub.api.access import Asking
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.queries import described
from nexus_hub.authorization.consent import ConsentRequest
from nexus_hub.authorization.grants import GrantRow
from nexus_hub.authorization.server import AuthorizationServer
from nexus_hub.errors import NotAllowed
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1", tags=["log-in"])


class Consent(Body):
    """A person's answer to a client; `user_id` is whom the page has asked, the operator being null."""

    approve: bool
    user_id: UUID | None = Field(default=None, strict=False)
    scopes: list[str] | None = described(default=None, max_length=20)


def _server(request: Request) -> AuthorizationServer:
    server: AuthorizationServer = request.app.state.authorization
    return server


async def _find(request: Request, request_id: UUID) -> ConsentRequest:
    if request.state.session is None:
        raise NotAllowed("Only a person who is signed in at the console may answer a client; a token does not.")
    return await _server(request).requests.find(request_id)


@router.get("/oauth/requests/{request_id}", responses=answers(403, 404))
async def show_request(request_id: UUID, request: Request, principal: Asking) -> Any:
    """Show what a client asks of the person who is signed in."""
    return (await _find(request, request_id)).show(principal)


@router.post("/oauth/requests/{request_id}", responses=answers(403, 404))
async def answer_request(request_id: UUID, body: Consent, request: Request, principal: Asking) -> Any:
    """Answer a client, once; the browser then goes to the address that this gives."""
    asked = await _find(request, request_id)
    note(target=f"{'grant to' if body.approve else 'refuse'} {asked.client_name} ({asked.client_id})"[:200])
    requests = _server(request).requests
    if not body.approve:
        return {"redirect_to": await requests.deny(asked)}
    if "user_id" in body.model_fields_set and body.user_id != principal.user_id:
        raise NotAllowed("Somebody else is signed in by now than the page has asked; load it anew.")
    return {"redirect_to": await requests.approve(asked, principal, body.scopes)}


@router.get("/grants")
async def list_grants(request: Request, principal: Asking) -> Any:
    """List the clients that may act for you; an operator sees those of all users."""
    found = await _server(request).grants.list_grants(principal)
    return {"items": [_show(grant) for grant in found], "next_cursor": None}


@router.delete("/grants/{grant_id}", status_code=204, responses=answers(404))
async def end_grant(grant_id: UUID, request: Request, principal: Asking) -> None:
    """End a grant: its client's tokens are good no more."""
    note(target=str(grant_id))
    await _server(request).grants.end(grant_id, principal)


def _show(grant: GrantRow) -> dict[str, Any]:
    return {
        "id": grant.id,
        "user": {"id": grant.user_id, "name": grant.user_name},
        "client": {"name": grant.client_name, "id": grant.client_id, "host": grant.host},
        "scopes": grant.scopes,
        "resource": grant.resource or "/",
        "created_at": grant.created_at,
        "last_used_at": grant.last_used_at,
        "expires_at": grant.expires_at,
    }
