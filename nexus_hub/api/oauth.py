"""The authorization server's endpoints for clients, which are asked before anybody is known.

What they answer is OAuth's, not the API's: see RFC 6749, 7009, 7591, 8414. Pages of any site may ask all but the first,
to which a browser is sent: no cookie counts here.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nexus_hub.api.base import base_of
from nexus_hub.api.cookies import address_of
from nexus_hub.api.problems import Problem
from nexus_hub.authorization.server import (
    AUTHORIZE,
    METADATA,
    NO_STORE,
    REGISTER,
    REVOKE,
    TOKEN,
    AuthorizationServer,
    describe_server,
    network_of,
)
from nexus_hub.errors import HubError

Answer = Callable[[Request], Awaitable[Response]]
_LONGEST_QUERY = 16 * 1024
_STOPPED = "This log-in can't go on: {reason} Go back to the program that brought you here, and try again."


def make_client_routes() -> list[BaseRoute]:
    """Make the routes of the endpoints."""
    return [
        _Endpoint(METADATA, "GET", _describe).shared(),
        _Endpoint(AUTHORIZE, "GET", _authorize).route(),
        _Endpoint(TOKEN, "POST", _exchange).shared(),
        _Endpoint(REGISTER, "POST", _register).shared(),
        _Endpoint(REVOKE, "POST", _revoke).shared(),
    ]


class _Endpoint:
    """The ASGI application of an endpoint, and its route for the log and the audit."""

    def __init__(self, path: str, method: str, answer: Answer) -> None:
        self.path = path
        self._method = method
        self._answer = answer

    def route(self) -> Route:
        """Make the route that leads here."""
        return Route(self.path, self)

    def shared(self) -> Route:
        """Make the route, and let pages of all sites ask."""
        app: ASGIApp = CORSMiddleware(
            self, allow_origins=["*"], allow_methods=[self._method], allow_headers=["*"], max_age=3600
        )
        return Route(self.path, app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["route"] = self
        if scope["method"] != self._method:
            answer: Response = Problem(
                405, "method-not-allowed", f"Send {self._method}.", headers={"Allow": self._method}
            )
        else:
            answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)


def _server(request: Request) -> AuthorizationServer:
    server: AuthorizationServer = request.app.state.authorization
    return server


async def _describe(request: Request) -> Response:
    return JSONResponse(describe_server(base_of(request)))


async def _authorize(request: Request) -> Response:
    """Send the browser to the page that asks, or back; what can't be used is told to whoever sits before it."""
    query = request.scope["query_string"]
    try:
        if len(query) > _LONGEST_QUERY:
            return _stop(request, 400, "The request is too long.")
        parameters = parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=50)
        begun = await _server(request).requests.begin(parameters, base_of(request), network_of(address_of(request)))
    except ValueError:
        return _stop(request, 400, "The request can't be read.")
    except HubError as error:
        if error.status >= 500:
            raise
        return _stop(request, error.status, error.message)
    return RedirectResponse(begun, 302, headers=NO_STORE | {"Referrer-Policy": "no-referrer"})


def _stop(request: Request, status: int, reason: str) -> Response:
    headers = NO_STORE | {"X-Content-Type-Options": "nosniff"}
    if "text/html" in request.headers.get("accept", ""):
        return PlainTextResponse(_STOPPED.format(reason=reason), status, headers=headers)
    told = {"error": "invalid_request", "error_description": reason}
    return JSONResponse(told, status, headers=headers)


async def _exchange(request: Request) -> Response:
    return await _server(request).token(request, base_of(request), address_of(request))


async def _register(request: Request) -> Response:
    return await _server(request).register(request, base_of(request), address_of(request))


async def _revoke(request: Request) -> Response:
    return await _server(request).revoke(request, base_of(request), address_of(request))
