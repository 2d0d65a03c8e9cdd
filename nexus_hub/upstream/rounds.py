"""Calls in rounds: a server of 2026-07-28 that wants input ends its answer, and the request is sent again with it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mcp import ClientSession, MCPError

from nexus_hub.json_object import JsonObject
from nexus_hub.upstream import peer as peers
from nexus_hub.upstream import wire
from nexus_hub.upstream.notices import LogRelay
from nexus_hub.upstream.peer import (
    METHODS,
    MOST_REQUESTS,
    Pause,
    Peer,
    PeerRefused,
    list_elicitations,
    select_askable,
    select_error_data,
)
from nexus_hub.upstream.questions import Questions
from nexus_hub.upstream.requests import OnProgress, UpstreamRequest

INPUT_REQUIRED = "input_required"
_HEAD = b'{"resultType":"input_required"'
MOST_ROUNDS = 10
"""Rounds that a client which can be asked goes through by itself, as in the official SDKs."""
MAX_STATE_BYTES = 64 * 1024
IDLE_SECONDS = 0.25
"""The pause before a server that asked for nothing but another request gets it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The wish for input that a result of the type `input_required` is."""

    requests: dict[str, dict[str, Any]]
    state: str | None

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "Wish":
        """Read it from a result.

        Raises:
            MalformedAnswer: it breaks the protocol, or is over a bound of the hub.
        """
        requests, state = result.get("inputRequests"), result.get("requestState")
        if requests is None and state is None:
            raise wire.MalformedAnswer("inputRequests: is missing, and requestState too", result)
        if not isinstance(requests, dict | None) or len(requests or {}) > MOST_REQUESTS:
            raise wire.MalformedAnswer(f"inputRequests: must be an object of at most {MOST_REQUESTS}", result)
        for request in (requests or {}).values():
            if not isinstance(request, dict) or request.get("method") not in METHODS:
                raise wire.MalformedAnswer(f"inputRequests: must hold requests of {', '.join(METHODS)}", result)
            if not isinstance(request.get("params"), dict | None):
                raise wire.MalformedAnswer("inputRequests: must hold requests whose params are objects", result)
        if not isinstance(state, str | None) or len((state or "").encode("utf-8", "surrogatepass")) > MAX_STATE_BYTES:
            raise wire.MalformedAnswer(f"requestState: must be a string of at most {MAX_STATE_BYTES} bytes", result)
        return cls(requests or {}, state)


async def play(
    session: ClientSession,
    questions: Questions,
    request: UpstreamRequest,
    on_progress: OnProgress | None,
    peer: Peer | None,
    pause: Pause,
    logs: LogRelay | None = None,
) -> JsonObject:
    """Send a request, and again with what its server asks the client for; the result, or a wish for rounds.

    Raises:
        MCPError, MalformedAnswer, InputRequired: as `wire.send`; the latter where no client is behind the call.
        PeerRefused: the client was not asked, or refused.
    """
    capabilities = select_askable(peer.capabilities) if peer is not None and questions.is_modern else {}
    with questions.call(peer, pause, logs):
        for _ in range(MOST_ROUNDS + 1):
            try:
                return await wire.send(session, request, on_progress, capabilities=capabilities)
            except MCPError as error:
                _expect_completions(questions, peer, error)
                raise
            except wire.InputRequired as unfinished:
                if peer is None or unfinished.kind != INPUT_REQUIRED:
                    raise
                result = unfinished.result
            wish = Wish.read(result)
            if peer.takes_rounds:
                return JsonObject.of({"resultType": INPUT_REQUIRED, **result})
            request = replace(
                request, input_responses=await _ask_all(wish, peer, pause) or None, request_state=wish.state
            )
    raise PeerRefused(f"It asked for input more than {MOST_ROUNDS} times.")


async def _ask_all(wish: Wish, peer: Peer, pause: Pause) -> dict[str, Any]:
    if not wish.requests:
        await asyncio.sleep(IDLE_SECONDS)
    asking = [
        asyncio.ensure_future(peers.ask(peer, request["method"], request.get("params") or {}, pause))
        for request in wish.requests.values()
    ]
    try:
        return dict(zip(wish.requests, await asyncio.gather(*asking), strict=True))
    finally:
        for task in asking:
            task.cancel()


def _expect_completions(questions: Questions, peer: Peer | None, error: MCPError) -> None:
    if peer is not None:
        for elicitation in list_elicitations(select_error_data(error.code, error.error.data)):
            questions.expect_completion(peer, elicitation)


def wants_input(result: JsonObject) -> bool:
    """Tell a wish for input, as `play` gives it, from the result of a call."""
    return result.text.startswith(_HEAD)
