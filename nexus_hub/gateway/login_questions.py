"""Logins from inside of a chat: a call that needs one has its client open the page, and goes on once it is done.

Nothing was sent to the server yet, so that the call is simply made again. A client with a session is asked while its
call waits. One without gets a wish for input, and calls again; any process of the hub may take that.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from nexus_hub.errors import LoginNeeded
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.peers import ClientPeer, LegacyPeer
from nexus_hub.gateway.states import Resumable
from nexus_hub.json_object import JsonObject
from nexus_hub.live.listener import CatalogChange
from nexus_hub.models import Principal, ServerRef
from nexus_hub.upstream.peer import ELICIT, PeerRefused, find_missing
from nexus_hub.upstream.rounds import INPUT_REQUIRED

KEYS = tuple(f"nexus-hub/login-{number}" for number in range(1, 5))
"""Keys of wishes for a login: that of the first round, and those of further ones while it is not there."""
LOGIN_SECONDS = 300.0
"""The time that a call of a client with a session waits for a login."""
ROUND_SECONDS = 45.0
"""The same for one round of a client without: some give up a request after a minute."""
MOST_WAITING_OF_USER = 10
"""Calls of one user that wait for logins; further ones don't wait."""
T = TypeVar("T")
Work = Callable[[Resumable, ClientPeer], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """Answer of a client without a session to the question for a login, in its round."""

    round: int
    is_accepted: bool

    @classmethod
    def take(cls, responses: dict[str, Any]) -> "LoginAnswer | None":
        """Take it out of what a client sends with its request: the rest is its server's."""
        found = [(number, responses.pop(key)) for number, key in enumerate(KEYS) if key in responses]
        return cls(found[-1][0], found[-1][1].get("action") == "accept") if found else None

    @property
    def next_key(self) -> str | None:
        """The key of the next question; None if the client is not asked again."""
        return KEYS[self.round + 1] if self.is_accepted and self.round + 1 < len(KEYS) else None


class LoginQuestions:
    """Asks clients for logins, and waits for these; `public_url` is the hub's address, None: the one that is asked."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url
        self._waiting: dict[asyncio.Event, tuple[Principal, ServerRef]] = {}
        self._of_user: Counter[Principal] = Counter()

    def notice(self, change: CatalogChange | None) -> None:
        """Take a change of the catalog from the listener; None: some may have been missed."""
        if change is not None and "login" not in change.kinds:
            return
        for changed, (principal, ref) in self._waiting.items():
            if change is None or _is_for(change, principal, ref):
                changed.set()

    def surround(self, asked: Asked, ref: ServerRef, work: Work[T], answer: "LoginAnswer | None" = None) -> "Work[Any]":
        """Make a call so that it asks for the login that it needs; `answer` is what its client said to that before."""

        async def make(request: Resumable, peer: ClientPeer) -> T | JsonObject:
            call: Callable[[], Awaitable[T]] = partial(work, request, peer)
            try:
                if answer is not None and answer.is_accepted:
                    return await self._make_after_login(asked, ref, call, ROUND_SECONDS)
                return await call()
            except LoginNeeded as error:
                needed = self._as_asked(asked, error)
            question = _write_question(peer, needed)
            if question is None or (answer is not None and answer.next_key is None):
                raise needed
            if isinstance(peer, LegacyPeer):
                return await self._ask(asked, ref, peer, question, call, needed)
            return _to_wish(KEYS[0] if answer is None else answer.next_key, question, request.request_state)

        return make

    def _as_asked(self, asked: Asked, needed: LoginNeeded) -> LoginNeeded:
        """Give the error with the address by which the client knows the hub, which was checked when it came."""
        request = asked.context.request
        host = request.headers.get("host") if request is not None else None
        if self._public_url or needed.link is None or request is None or not host:
            return needed
        parts = urlsplit(needed.link)
        link = urlunsplit((request.url.scheme, host, parts.path, parts.query, ""))
        return LoginNeeded(needed.server, needed.reason, link, is_yours=needed.is_yours)

    async def _ask(
        self,
        asked: Asked,
        ref: ServerRef,
        peer: LegacyPeer,
        question: dict[str, Any],
        call: Callable[[], Awaitable[T]],
        needed: LoginNeeded,
    ) -> T:
        ident, said = {"elicitationId": str(uuid4())}, {}
        with suppress(PeerRefused, TimeoutError):
            async with asyncio.timeout(LOGIN_SECONDS):
                said = await peer.ask(ELICIT, {**question, **ident})
        if said.get("action") != "accept":
            raise needed
        return await self._make_after_login(asked, ref, call, LOGIN_SECONDS, partial(peer.complete, ident))

    async def _make_after_login(
        self,
        asked: Asked,
        ref: ServerRef,
        call: Callable[[], Awaitable[T]],
        seconds: float,
        done: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Make a call once its login is there, which may be at once.

        Raises:
            LoginNeeded: it was not there in time.
        """
        until = time.monotonic() + seconds
        with self._listen(asked.principal, ref) as changed:
            if self._of_user[asked.principal] > MOST_WAITING_OF_USER:
                until = 0
            while True:
                changed.clear()
                try:
                    return await call()
                except LoginNeeded as error:
                    needed = self._as_asked(asked, error)
                if not await _wait(changed, until - time.monotonic()):
                    break
                if done is not None:
                    await done()
        raise needed

    @contextmanager
    def _listen(self, principal: Principal, ref: ServerRef) -> Iterator[asyncio.Event]:
        """Give what is set at each change of a server's logins that are for a principal."""
        changed = asyncio.Event()
        self._waiting[changed] = principal, ref
        self._of_user[principal] += 1
        try:
            yield changed
        finally:
            del self._waiting[changed]
            self._of_user[principal] -= 1
            if not self._of_user[principal]:
                del self._of_user[principal]


def _is_for(change: CatalogChange, principal: Principal, ref: ServerRef) -> bool:
    """Tell if a login that has changed is one that a caller of a server uses: another user's is no news for it."""
    return change.ref == ref and (change.user_id in (None, principal.user_id) or ref.server_type == "user")


async def _wait(changed: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            return await changed.wait()
    return False


def _to_wish(key: str | None, question: dict[str, Any], state: str | None) -> JsonObject:
    wish: dict[str, Any] = {
        "resultType": INPUT_REQUIRED,
        "inputRequests": {key: {"method": ELICIT, "params": question}},
    }
    return JsonObject.of(wish if state is None else {**wish, "requestState": state})


def _write_question(peer: ClientPeer, needed: LoginNeeded) -> dict[str, Any] | None:
    """Write the parameters of the elicitation; None where there is no link, or its client opens none."""
    if needed.link is None:
        return None
    said = f"The server {needed.server!r} needs your login: {needed.reason}."
    question = {"mode": "url", "url": needed.link, "message": said}
    return None if find_missing(peer.capabilities, ELICIT, question) else question
