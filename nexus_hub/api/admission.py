"""Admission of requests: the token is looked at before a byte of the body is read, and each user has turns."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.access.tokens import Authenticator
from nexus_hub.access.turns import Turns
from nexus_hub.api.problems import from_error
from nexus_hub.errors import HubError
from nexus_hub.models import Principal

PUBLIC = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Paths that are answered without a token."""
_LARGE = 64 * 1024


async def find_principal(connection: HTTPConnection) -> Principal:
    """Find the holder of a request's bearer token.

    Raises:
        NotAuthenticated: there is no token, or nobody holds it.
    """
    authenticator: Authenticator = connection.app.state.authenticator
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return await authenticator.principal(token.strip() if scheme.lower() == "bearer" else None)


class Admission:
    """Lets requests in whose token is known, so many of one user at the same time; the operator waits for nobody."""

    def __init__(self, app: ASGIApp, user_requests: int) -> None:
        self.app = app
        self._turns = Turns("NEXUS_USER_REQUESTS", per_user=user_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on once it is the user's turn, or answer."""
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self.app(scope, receive, send)
            return
        try:
            principal = await find_principal(HTTPConnection(scope))
            turn = AsyncExitStack()
            await turn.enter_async_context(self._turns.turn(principal))
        except HubError as error:
            await from_error(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        async with turn:
            await self.app(scope, receive, _hold_while_sending(send, turn.aclose))


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
