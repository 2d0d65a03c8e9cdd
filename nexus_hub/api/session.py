"""`/v1/session`: log-in of the console, by a token or by a link that is good once."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr, ValidationError, model_validator

from nexus_hub import __version__
from nexus_hub.access.console import ConsoleSession, ConsoleSessions
from nexus_hub.api.access import Asking, LanesOf, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.challenges import read_token
from nexus_hub.api.cookies import address_of, read_cookie, require_own_page, set_cookie
from nexus_hub.errors import NotAllowed, RequestTimedOut, TooLarge
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime

PATH = "/v1/session"
router = APIRouter(prefix=PATH, tags=["console"])
_MOST_BYTES = 8 * 1024
"""The size of a log-in's body, which is read before anybody is known."""
BODY_SECONDS = 3.0
"""The time that it has to arrive."""


class Login(Body):
    """A log-in: a user's token or the operator's key, or the code of a link."""

    token: SecretStr | None = None
    code: SecretStr | None = None

    @model_validator(mode="after")
    def _hold_one(self) -> "Login":
        if (self.token is None) == (self.code is None):
            raise ValueError("give a token or a code")
        return self


async def _read_login(request: Request) -> Login:
    """Read a log-in, as little of a larger body as possible."""
    require_own_page("POST", request.headers, request.app.state.sources, is_login=True)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read_body(request)
    except TimeoutError:
        raise RequestTimedOut("body", BODY_SECONDS) from None
    try:
        return Login.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise RequestValidationError([fault | {"loc": ("body", *fault["loc"])} for fault in faults]) from None


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise TooLarge("A log-in", len(body), _MOST_BYTES)
    return bytes(body)


def _sessions(request: Request) -> ConsoleSessions:
    sessions: ConsoleSessions = request.app.state.sessions
    return sessions


_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": Login.model_json_schema()}}}}


@router.post("", responses=answers(403), openapi_extra=_BODY)
async def log_in(request: Request, response: Response, runtime: RuntimeOf, lanes: LanesOf) -> Any:
    """Open a session in place of the one whose cookie came along, and have the browser keep its cookie."""
    sessions, address, before = _sessions(request), address_of(request), read_cookie(request)
    async with lanes.log_ins.turn_of(address):
        login = await _read_login(request)
        if login.token is not None:
            cookie = await sessions.open(login.token.get_secret_value(), address, before)
        else:
            assert login.code is not None  # noqa: S101 - one of both is there
            cookie = await sessions.open_by_link(login.code.get_secret_value(), address, before)
    session = await sessions.find(cookie, address)
    request.state.principal = session.principal
    set_cookie(request, response, cookie)
    return await _describe(request, runtime, session.principal, session)


@router.get("")
async def show_session(request: Request, response: Response, principal: Asking, runtime: RuntimeOf) -> Any:
    """Say who is logged in."""
    response.headers["Cache-Control"] = "no-store"
    return await _describe(request, runtime, principal, request.state.session)


@router.delete("", status_code=204, responses=answers(403))
async def log_out(request: Request, response: Response, _principal: Asking) -> None:
    """End the session of the cookie, also where a token came beside it."""
    await _sessions(request).close(read_cookie(request))
    set_cookie(request, response, "")


@router.post("/links", status_code=201, responses=answers(403))
async def make_link(request: Request, _principal: Asking) -> Any:
    """Make a code that logs the holder of the request's token in, once; this is the only time it is seen."""
    if (token := read_token(request)) is None:
        raise NotAllowed("A session makes no links; send the token itself.")
    return await _sessions(request).make_link(token, address_of(request))


async def _describe(
    request: Request, runtime: Runtime, principal: Principal, session: ConsoleSession | None
) -> dict[str, Any]:
    name = session.name if session is not None else None
    return {
        "user": {"id": principal.user_id, "name": name or await _sessions(request).name_of(principal)},
        "is_operator": principal.is_operator,
        "expires_at": None if session is None else session.expires_at,
        "version": __version__,
        "prefect_url": runtime.settings.prefect_url.removesuffix("/api") if principal.is_operator else None,
    }
