"""Headers that people set for servers, in the place of a login in a browser."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, SecretStr

from nexus_hub.api.access import UPSTREAM, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.logins import find_server, read_catalog
from nexus_hub.models import ServerRef, ServerType
from nexus_hub.servers.header_credentials import LONGEST_VALUE, set_header

router = APIRouter(prefix="/v1", tags=["logins"])


class NewCredential(Body):
    """Value of a server's header, without the prefix that the server's registration names."""

    value: SecretStr = Field(min_length=1, max_length=LONGEST_VALUE)


@router.put(
    "/servers/{server_type}/{server_ref_id}/credential",
    dependencies=UPSTREAM,
    responses=answers(403, 404, 409, 502),
)
async def set_credential(
    server_type: ServerType, server_ref_id: UUID, body: NewCredential, principal: Asking, runtime: RuntimeOf
) -> Any:
    """Set the value of a server's header: the caller's own, or of an operator the one for all."""
    ref = ServerRef(server_type, server_ref_id)
    await set_header(runtime.login_requests, runtime.logins, principal, ref, body.value.get_secret_value())
    await read_catalog(runtime, principal, await find_server(runtime, ref))
    return {"state": "ready"}


@router.delete("/servers/{server_type}/{server_ref_id}/credential", status_code=204, responses=answers(403, 404, 409))
async def remove_credential(
    server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf
) -> None:
    """Remove the value of a server's header."""
    await runtime.login_requests.end(principal, ServerRef(server_type, server_ref_id))
