"""Clients of both eras as upstream servers see them: whom to ask in the middle of a call."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from mcp import MCPError
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from nexus_hub.gateway.asked import Asked
from nexus_hub.models import Principal
from nexus_hub.upstream.peer import ELICIT, PeerRefused

URL_ELICITATION_SINCE = "2025-11-25"
_GONE = "The client behind this call has its answer, or went away; the call goes on without it."


class _Client:
    """A client by one of its requests, in whose stream it hears what the server says meanwhile."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Report progress to the client, if it asked for that."""
        if (on_progress := self.asked.on_progress) is not None:
            await on_progress(progress, total, message)

    @property
    def owner(self) -> Principal:
        """The caller."""
        return self.asked.principal

    async def log(self, params: dict[str, Any]) -> None:
        """Pass on a log message of a level that the client wants to hear."""
        session = self.asked.context.session
        if params.get("level") in session._allowed_log_levels:
            await session._request_outbound.notify("notifications/message", params)


class LegacyPeer(_Client):
    """A client of the era with sessions: it is asked while it waits for the answer to its own request."""

    takes_rounds = False
    speaks_older = True

    @property
    def obstacle(self) -> str | None:
        """The reason why it can't be asked: other processes get requests of its session, too."""
        return None if self.asked.session is None else self.asked.session.obstacle

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The capabilities that it declared when its session began: none if it can't be asked."""
        if self.obstacle is not None:
            return {}
        declared = self.asked.context.session.client_capabilities
        return {} if declared is None else declared.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send it the request on the stream of its own, and wait for the answer.

        Raises:
            PeerRefused: it has its answer already, can't be asked, or refuses.
        """
        session, use = self.asked.context.session, self.asked.session
        if not session.can_send_request or use is None:
            raise PeerRefused(_GONE)
        if method == ELICIT and params.get("mode") == "url" and "elicitationId" not in params:
            params = {**params, "elicitationId": str(uuid4())}  # the newer era has none
        try:
            async with use.shared.question(use.id):
                return await session._request_outbound.send_raw_request(method, params)
        except MCPError as error:
            refusal = PeerRefused(error.error.message, error.error.code, error.error.data)
        raise refusal

    async def complete(self, params: dict[str, Any]) -> None:
        """Pass on that an elicitation by URL is complete; its request may have been answered long ago."""
        session = self.asked.context.session
        if session.protocol_version < URL_ELICITATION_SINCE:
            return
        channel = session._request_outbound if session.can_send_request else session._connection
        await channel.notify("notifications/elicitation/complete", params)


class ModernPeer(_Client):
    """A client of the era without sessions: a question waits here until the client sends its request again.

    `admit` is called before the first question, and may refuse it.
    """

    takes_rounds = True
    speaks_older = False
    obstacle = None

    def __init__(self, asked: Asked, admit: Callable[[], None]) -> None:
        super().__init__(asked)
        self._admit = admit
        self._asked = 0
        self._waiting: dict[str, tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = {}
        self._news = asyncio.Event()
        self.is_gone = False
        """True once the call can't be answered with a question any more."""

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The capabilities that it declares with the request."""
        meta = self.asked.params.get("_meta")
        declared = meta.get(CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, Mapping) else None
        return declared if isinstance(declared, Mapping) else {}

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """The questions that wait for an answer, as a result has them."""
        return {key: request for key, (request, _) in self._waiting.items()}

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Wait until the client calls again with the answer.

        Raises:
            PeerRefused: it has its answer already, went away, or too many calls wait.
        """
        if self.is_gone:
            raise PeerRefused(_GONE)
        self._admit()
        self._asked += 1
        key = f"question-{self._asked}"
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        plain = {name: value for name, value in params.items() if name != "_meta"}
        self._waiting[key] = {"method": method, **({"params": plain} if plain else {})}, answer
        self._news.set()
        try:
            return await answer
        finally:
            self._waiting.pop(key, None)

    def answer(self, asked: Asked, responses: Mapping[str, Any]) -> None:
        """Answer the questions that the client names as it calls again; others it is asked again."""
        self.asked = asked
        for key, response in responses.items():
            _, answer = self._waiting.get(key, (None, None))
            if answer is not None and not answer.done():
                answer.set_result(response)
                del self._waiting[key]

    async def wait(self, call: "asyncio.Task[Any]") -> None:
        """Wait until the call has ended, or asks."""
        while not call.done() and not self._waiting:
            self._news.clear()
            await self._news.wait()

    def note_end(self, _: object = None) -> None:
        """Note that the call has ended."""
        self.is_gone = True
        self._news.set()

    async def complete(self, params: dict[str, Any]) -> None:
        """Pass over it: this era does not have that notification, and the client asks by calling again."""


ClientPeer = LegacyPeer | ModernPeer
