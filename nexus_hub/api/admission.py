"""Admission of requests: the token is looked at before a byte of the body is read, and each user has turns."""

import asyncio
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.access.tokens import Authenticator
from nexus_hub.api.problems import from_error
from nexus_hub.errors import HubError, TooMany
from nexus_hub.models import Principal

PUBLIC = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Paths that are answered without a token."""
MOST_WAITING = 100
"""Requests of one user that wait for their turn; more are refused."""
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
        self._turns = Turns(user_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on once it is the user's turn, or answer."""
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self.app(scope, receive, send)
            return
        try:
            principal = await find_principal(HTTPConnection(scope))
            turn = await self._turns.take(principal.user_id)
        except HubError as error:
            await from_error(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        try:
            await self.app(scope, receive, turn.hold_while_sending(send))
        finally:
            turn.release()


class Turns:
    """Turns of users: so many of one at the same time, in the order in which they came."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._queues: dict[UUID, _Queue] = {}

    async def take(self, user_id: UUID | None) -> "Turn":
        """Wait for a turn; the operator (None) has one at once.

        Raises:
            TooMany: too many of this user wait already.
        """
        if user_id is None:
            return Turn(None)
        queue = self._queues.setdefault(user_id, _Queue(self._queues, user_id, self._at_once))
        if queue.requests >= self._at_once + MOST_WAITING:
            raise TooMany(
                "NEXUS_USER_REQUESTS",
                f"{self._at_once} of your requests are worked on and {MOST_WAITING} wait; send fewer at a time.",
                retry_after=1,
            )
        await queue.enter()
        return Turn(queue)


class _Queue:
    """Requests of one user, those that wait and those that have their turn."""

    def __init__(self, queues: "dict[UUID, _Queue]", user_id: UUID, at_once: int) -> None:
        self._queues = queues
        self._user_id = user_id
        self._places = asyncio.Semaphore(at_once)
        self.requests = 0

    async def enter(self) -> None:
        self.requests += 1
        try:
            await self._places.acquire()
        except BaseException:
            self._count_down()
            raise

    def leave(self) -> None:
        self._places.release()
        self._count_down()

    def _count_down(self) -> None:
        self.requests -= 1
        if not self.requests:
            del self._queues[self._user_id]


class Turn:
    """A turn of a user; it ends with the answer, or when an event stream begins, which is counted by itself."""

    def __init__(self, queue: _Queue | None) -> None:
        self._queue = queue

    def release(self) -> None:
        """End the turn, if it has not ended."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave()

    def hold_while_sending(self, send: Send) -> Send:
        """Keep the turn until the reader has taken nearly all of a large answer, which is in memory until then."""

        async def send_and_wait(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                self.release()
            elif len(message.get("body", b"")) > _LARGE and not message.get("more_body"):
                await send({**message, "more_body": True})
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return send_and_wait


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]
    )
