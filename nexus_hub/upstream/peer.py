"""Peer: the client behind a call, to which a server's questions in the middle of the call go."""

import asyncio
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from mcp_types import INVALID_REQUEST, MISSING_REQUIRED_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED

ELICIT = "elicitation/create"
SAMPLE = "sampling/createMessage"
LIST_ROOTS = "roots/list"
METHODS = (ELICIT, SAMPLE, LIST_ROOTS)
"""Requests that a server may send to a client in the middle of a call."""
ASKABLE = ("elicitation", "sampling", "roots")
"""Capabilities of a client that are about such requests."""
MOST_REQUESTS = 32
"""Requests for input of one answer."""
ANSWER_SECONDS = 600.0
"""The time that a client has for the answer to a question."""


class PeerRefused(Exception):
    """The peer was not asked, or refused: a JSON-RPC error for the server that asks."""

    def __init__(self, message: str, code: int = INVALID_REQUEST, data: Any = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(message)


class Peer(Protocol):
    """The client behind a call; it answers questions of the call's server, and hears its log messages."""

    @property
    def owner(self) -> Hashable:
        """The one for whom the client acts: what is asked in a call of one is never told to another."""

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The client's capabilities as it declared them, in their form on the wire."""

    @property
    def takes_rounds(self) -> bool:
        """True if a result of the type `input_required` is for the client, which calls again with the answers."""

    @property
    def speaks_older(self) -> bool:
        """True if it is a client of the era with sessions, which waits for questions on the stream of its call."""

    @property
    def obstacle(self) -> str | None:
        """The reason why the client can't be asked whatever it declared; None if there is none."""

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask one of `METHODS` and give the client's result as on the wire.

        Raises:
            PeerRefused: the client can't be asked, or answered with an error.
        """

    async def log(self, params: dict[str, Any]) -> None:
        """Pass on the parameters of a `notifications/message`; one that can't be delivered is dropped."""

    async def complete(self, params: dict[str, Any]) -> None:
        """Pass on the parameters of a `notifications/elicitation/complete`, as `log` does."""


class Pause:
    """Stops the clock of a call while somebody thinks about an answer, which may be several at a time."""

    def __init__(self) -> None:
        self.deadline: asyncio.Timeout | None = None
        self._left: float | None = None
        self._asking = 0

    def __enter__(self) -> None:
        if not self._asking and self.deadline is not None and (when := self.deadline.when()) is not None:
            self._left = when - asyncio.get_running_loop().time()
            self.deadline.reschedule(None)
        self._asking += 1

    def __exit__(self, *_: object) -> None:
        self._asking -= 1
        if self._asking or self._left is None or self.deadline is None:
            return
        left, self._left = self._left, None
        with suppress(RuntimeError):  # the call has ended
            self.deadline.reschedule(asyncio.get_running_loop().time() + left)


async def ask(peer: Peer, method: str, params: dict[str, Any], pause: Pause) -> dict[str, Any]:
    """Ask a peer what it can be asked, while the clock of its call stands still.

    Raises:
        PeerRefused: it declared nothing of the kind, refused, or gave no answer in time.
    """
    if missing := find_missing(peer.capabilities, method, params):
        raise PeerRefused(peer.obstacle or f"The client behind this call does not offer {describe(missing)}.")
    with pause:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await peer.ask(method, params)
        except TimeoutError:
            raise PeerRefused(f"The client behind this call gave no answer within {ANSWER_SECONDS:g} s.") from None


def select_askable(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Select the capabilities that are about questions."""
    return {name: capabilities[name] for name in ASKABLE if isinstance(capabilities.get(name), Mapping)}


def select_error_data(code: int, data: Any) -> dict[str, Any] | None:
    """Select from the data of a server's error what a client can act on: the input that the server needs."""
    given = data if isinstance(data, dict) else {}
    if code == URL_ELICITATION_REQUIRED:
        return {"elicitations": _select_elicitations(given.get("elicitations"))}
    if code == MISSING_REQUIRED_CLIENT_CAPABILITY and isinstance(required := given.get("requiredCapabilities"), dict):
        needs: dict[str, Any] = {name: {key: {} for key in inner} for name, inner in select_askable(required).items()}
        return {"requiredCapabilities": needs} if needs else None
    return None


def list_elicitations(data: Any) -> list[dict[str, Any]]:
    """List the elicitations by URL that selected data of an error asks for."""
    return data.get("elicitations", []) if isinstance(data, dict) else []


def _select_elicitations(found: Any) -> list[dict[str, Any]]:
    return [
        {"mode": "url"} | {name: one[name] for name in ("message", "url", "elicitationId") if name in one}
        for one in (found if isinstance(found, list) else [])[:MOST_REQUESTS]
        if isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("message", "url"))
    ]


def find_missing(capabilities: Mapping[str, Any], method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the capabilities that a request needs and a client did not declare, in their form on the wire; or None."""
    return next((need for need in _list_needs(method, params) if not _declares(capabilities, need)), None)


def describe(need: Mapping[str, Any]) -> str:
    """Write a capability as its path, such as `elicitation.url`."""
    (name, inner), *_ = need.items()
    return f"{name}.{describe(inner)}" if inner else name


def _list_needs(method: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    if method == ELICIT:
        return [{"elicitation": {"url" if params.get("mode") == "url" else "form": {}}}]
    if method == LIST_ROOTS:
        return [{"roots": {}}]
    needs: list[dict[str, Any]] = [{"sampling": {}}]
    if params.get("tools") is not None or params.get("toolChoice") is not None:
        needs.append({"sampling": {"tools": {}}})
    return needs


def _declares(capabilities: Mapping[str, Any], need: Mapping[str, Any]) -> bool:
    """Tell if all members of a need are there; an elicitation that names no mode is one by forms, as it always was."""
    for name, inner in need.items():
        declared = capabilities.get(name)
        if not isinstance(declared, Mapping):
            return False
        if name == "elicitation" and not declared.keys() & {"form", "url"}:
            declared = {"form": {}}
        if not _declares(declared, inner):
            return False
    return True
