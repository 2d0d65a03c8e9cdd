"""Admission of requests: the token is looked at before a byte of the body is read, and each user has turns."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.access.tokens import Authenticator
from nexus_hub.access.turns import Turns
from nexus_hub.api import web
from nexus_hub.api.challenges import make_challenge, read_token
from nexus_hub.api.connections import KNOWN
from nexus_hub.api.cookies import address_of, find_session
from nexus_hub.api.problems import from_error
from nexus_hub.authorization.server import PUBLIC as OF_CLIENTS
from nexus_hub.errors import HubError, NotAuthenticated
from nexus_hub.models import Principal
from nexus_hub.upstream.oauth_client import CLIENT_METADATA_PATH

LOGIN = ("POST", "/v1/session")
PUBLIC = frozenset({"/healthz", "/readyz", "/openapi.json", "/metrics", "/metrics/worker", CLIENT_METADATA_PATH})
"""Paths that are answered without a user's token; those of the metrics have one of their own."""
WELL_KNOWN = "/.well-known/"
"""Metadata. Clients look for some that is not there, and only a 404 tells them so."""
_LARGE = 64 * 1024


async def find_principal(connection: HTTPConnection) -> Principal:
    """Find the holder of a request's bearer token, or without one, of its cookie.

    Raises:
        NotAuthenticated: there is neither, nobody holds it, or it is good at other paths only.
        NotAllowed: there is a cookie, and the request may come from a page of another site.
        TooMany: too many tokens that were not seen before wait to be looked up.
    """
    connection.state.session = None
    if "authorization" not in connection.headers and connection.cookies:
        connection.state.session = session = await find_session(connection)
        return session.principal
    authenticator: Authenticator = connection.app.state.authenticator
    bearer = await authenticator.bearer(read_token(connection), address_of(connection))
    if not bearer.reaches(connection.scope["path"]):
        raise NotAuthenticated("This token was made for another resource of the hub.")
    return bearer.principal


async def is_still_allowed(connection: HTTPConnection, principal: Principal) -> bool:
    """Tell if a request's token still is a principal's; while nobody can look, it is."""
    try:
        return await find_principal(connection) == principal
    except NotAuthenticated:
        return False
    except HubError:
        return True


class Admission:
    """Lets requests in whose token is known, so many of one user at the same time; the operator waits for nobody.

    Those to `/mcp` have turns of their own: a call may take long, and keeps nobody from looking at a job.
    """

    def __init__(self, app: ASGIApp, user_requests: int, user_calls: int) -> None:
        self.app = app
        self._turns = Turns("NEXUS_USER_REQUESTS", per_user=user_requests)
        self._calls = Turns("NEXUS_USER_CALLS", per_user=user_calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on once it is the user's turn, or answer."""
        if scope["type"] != "http" or is_public(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            principal = await find_principal(connection)
            scope["state"].get(KNOWN, lambda: None)()
            turn = AsyncExitStack()
            turns = self._calls if scope["path"].split("/")[1] == "mcp" else self._turns
            await turn.enter_async_context(turns.turn(principal))
        except HubError as error:
            await from_error(error, make_challenge(error, connection))(scope, receive, send)
            return
        scope["state"]["principal"] = principal
        async with turn:
            await self.app(scope, receive, _hold_while_sending(send, turn.aclose))


def is_public(method: str, path: str) -> bool:
    """Tell if a path is answered to everybody."""
    public = path in PUBLIC or path in OF_CLIENTS or (method, path) == LOGIN or path.startswith(WELL_KNOWN)
    return public or web.is_public(method, path)


def _hold_while_sending(send: Send, release: Callable[[], Awaitable[None]]) -> Send:
    """Keep the turn until the reader has taken nearly all of a large answer, which is in memory until then.

    It ends when an event stream begins: those are counted by themselves.
    """

    async def send_and_wait(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_stream(message):
            await release()
        elif len(message.get("body", b"")) > _LARGE and not message.get("more_body"):
            await send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return send_and_wait


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]
    )
