"""Logins at upstream servers: begun, finished with what a browser brings back, and ended."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from nexus_hub.api.access import UPSTREAM, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.base import base_of
from nexus_hub.api.bodies import Body
from nexus_hub.errors import HubError, LoginFailed, NotAllowed, NotFound, RefreshRunning, UpstreamUnavailable
from nexus_hub.models import OPERATOR, Principal, ServerRef, ServerType
from nexus_hub.runtime import Runtime
from nexus_hub.servers import registry
from nexus_hub.servers.login_requests import Redirected, check_redirect
from nexus_hub.servers.registry import ListedServer
from nexus_hub.telemetry.trail import note
from nexus_hub.upstream.config import LONGEST_SCOPE, SCOPE, HttpConfig, OAuthLogin, StdioConfig
from nexus_hub.upstream.oauth_client import CALLBACK_PATH, CLIENT_METADATA_PATH, describe_client

router = APIRouter(prefix="/v1", tags=["logins"])
public = APIRouter(tags=["logins"])
READ_SECONDS = 20.0
"""The time that a login waits for its server's catalog; one that takes longer is read behind it."""


class NewLogin(Body):
    """A login to begin: the browser comes back to the hub's page, or to a port of its own machine."""

    redirect_uri: str | None = Field(default=None, max_length=200)
    scope: str | None = Field(default=None, pattern=SCOPE, max_length=LONGEST_SCOPE)


class FinishedLogin(Body):
    """The query that a browser brings back from an authorization server."""

    state: SecretStr = Field(min_length=1, max_length=200)
    code: SecretStr | None = Field(default=None, max_length=8192)
    iss: str | None = Field(default=None, max_length=2048)
    error: str | None = Field(default=None, max_length=200)
    error_description: SecretStr | None = Field(default=None, max_length=8192)
    """Words of the authorization server, which nobody repeats: they may hold anything."""

    def to_redirected(self) -> Redirected:
        """Give the library's form of it."""
        code = None if self.code is None else self.code.get_secret_value()
        return Redirected(self.state.get_secret_value(), code, self.iss, self.error)


@router.post(
    "/servers/{server_type}/{server_ref_id}/login",
    status_code=201,
    dependencies=UPSTREAM,
    responses={**answers(403, 404, 409, 502), 200: {"description": "No person is needed: the hub is logged in"}},
)
async def begin_login(
    server_type: ServerType,
    server_ref_id: UUID,
    body: NewLogin,
    request: Request,
    response: Response,
    principal: Asking,
    runtime: RuntimeOf,
) -> Any:
    """Begin a login: the page at which a person goes on; a server that takes the client's own word is done at once."""
    response.headers["Cache-Control"] = "no-store"
    ref = ServerRef(server_type, server_ref_id)
    back = check_redirect(body.redirect_uri) if body.redirect_uri else base_of(request) + CALLBACK_PATH
    pending = await runtime.login_requests.begin(principal, ref, back, body.scope)
    if pending is not None:
        return {"authorization_url": pending.url, "expires_at": pending.expires_at}
    await read_catalog(runtime, principal, await find_server(runtime, ref))
    response.status_code = 200
    return {"state": "ready"}


@router.post("/logins:finish", dependencies=UPSTREAM, responses=answers(403, 404, 409, 502))
async def finish_login(body: FinishedLogin, response: Response, principal: Asking, runtime: RuntimeOf) -> Any:
    """Finish a login that the same principal began, and read what the server offers."""
    response.headers["Cache-Control"] = "no-store"
    ref = await runtime.login_requests.finish(principal, body.to_redirected())
    note(server_ref_id=ref.server_ref_id)
    server = await find_server(runtime, ref)
    await read_catalog(runtime, principal, server)
    named = {"server_type": server.server_type, "id": server.id, "name": server.name}
    return {"server": named, "state": "ready"}


@router.delete("/servers/{server_type}/{server_ref_id}/login", status_code=204, responses=answers(403, 404, 409, 502))
async def end_login(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> None:
    """Forget a login, and revoke its tokens where the authorization server has a way for that."""
    await runtime.login_requests.end(principal, ServerRef(server_type, server_ref_id))


@public.get(CLIENT_METADATA_PATH, responses=answers(404))
async def describe_hub(runtime: RuntimeOf) -> Any:
    """Describe the hub as an OAuth client, for authorization servers; only where NEXUS_PUBLIC_URL is https."""
    public_url = runtime.settings.public_url
    if public_url is None or not public_url.startswith("https://"):
        raise NotFound("document", CLIENT_METADATA_PATH)
    return describe_client(public_url)


async def find_server(runtime: Runtime, ref: ServerRef) -> ListedServer:
    """Find a server by its reference."""
    return await registry.find(runtime.database, OPERATOR, str(ref.server_ref_id))


async def read_catalog(runtime: Runtime, principal: Principal, server: ListedServer) -> None:
    """Read what a server offers, now that it lets the hub in; if it can't be read, the server's state says so."""
    if server.status == "ready" and server.server_type == "system" and not principal.is_operator:
        return  # one more of its users has logged in, which changes nothing of what is shown to all
    ref = ServerRef(server.server_type, server.id)
    try:
        async with asyncio.timeout(READ_SECONDS):
            await runtime.refresher.refresh(ref)
    except (TimeoutError, RefreshRunning):
        runtime.changes.note(ref, server.name)
    except HubError:
        return


async def log_in_machine(
    runtime: Runtime, principal: Principal, server: ListedServer, config: HttpConfig | StdioConfig
) -> ListedServer:
    """Log in at a new server for which no person is needed; where that fails, it waits for a login as others do."""
    login = config.login if isinstance(config, HttpConfig) else None
    if not isinstance(login, OAuthLogin) or login.grant != "client_credentials":
        return server
    ref = ServerRef(server.server_type, server.id)
    with suppress(LoginFailed, UpstreamUnavailable, NotAllowed):
        await runtime.login_requests.begin(principal, ref, CALLBACK_PATH)
        await read_catalog(runtime, principal, server)
    return await find_server(runtime, ref)
