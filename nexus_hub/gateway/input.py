"""Questions in the middle of a call, between servers and clients of both eras.

A client with a session is asked while it waits. One without gets a result of the type `input_required`, and calls again
with the answers. If the server is of that era too, its own state goes through the client's hands, sealed; if the
server has sessions, its call is held open in this process until then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from mcp import MCPError
from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY

from nexus_hub.errors import UpstreamRejected
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.login_questions import LoginAnswer, LoginQuestions
from nexus_hub.gateway.peers import ClientPeer, LegacyPeer, ModernPeer
from nexus_hub.gateway.states import Binding, Resumable, State, StateSeal, refuse
from nexus_hub.json_object import JsonObject
from nexus_hub.models import ServerRef
from nexus_hub.upstream.peer import ANSWER_SECONDS, ELICIT, PeerRefused, find_missing, list_elicitations, select_askable
from nexus_hub.upstream.rounds import INPUT_REQUIRED, Wish, wants_input

MOST_HELD = 100
"""Calls that wait for their clients' answers in one process."""
MOST_HELD_BY_USER = 10
T = TypeVar("T")
Work = Callable[[Resumable, ClientPeer], Awaitable[T]]
"""Makes the call of a request, with the client behind it."""
Bind = Callable[[], Binding]
"""Names a caller and a request, which takes a digest of all arguments: only where a state is sealed or opened."""


@dataclass(eq=False)
class _Held:
    """A call of a client without a session: it goes on while the client is asked."""

    id: str
    bind: Bind
    peer: ModernPeer
    task: "asyncio.Task[Any]"
    expiry: asyncio.TimerHandle | None = None


class Inputs:
    """Makes calls whose servers may ask their clients; use it as an async context manager."""

    def __init__(self, seal: StateSeal, logins: LoginQuestions) -> None:
        self._seal = seal
        self._logins = logins
        self._process = uuid4().hex
        self._held: dict[str, _Held] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in list(self._held.values()):
            self._forget(held)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def call(self, asked: Asked, ref: ServerRef, request: Resumable, work: Work[T]) -> T | JsonObject:
        """Make a call, or go on with the one that the client's state continues; the result may be a wish for input.

        Raises:
            MCPError: the state is not accepted, or the client lacks a capability that the server needs.
        """
        if not asked.is_modern:
            made: T | JsonObject = await self._logins.surround(asked, ref, work)(request, LegacyPeer(asked))
            return made
        bind = partial(Binding.of, asked.principal, ref, request)
        responses, sealed = _read_round(asked.params)
        work = self._logins.surround(asked, ref, work, LoginAnswer.take(responses))
        state = State()
        if sealed is not None:
            opened = self._seal.open(bind(), sealed)
            state, held = opened.state, self._find(opened.state)
            await self._seal.use(opened)
            if held is not None:
                held.peer.answer(asked, responses)
                answer: T | JsonObject = await self._follow(held)
                return answer
        request = replace(request, input_responses=responses or None, request_state=state.upstream)
        return await self._begin(asked, bind, request, work)

    async def _begin(self, asked: Asked, bind: Bind, request: Resumable, work: Work[T]) -> T | JsonObject:
        peer = ModernPeer(asked, lambda: self._admit(held))
        made = self._settle(bind, peer, work(request, peer))
        if not select_askable(peer.capabilities):  # it can't be asked, and so the call needs no task of its own
            peer.note_end()
            return await made
        held = _Held(uuid4().hex, bind, peer, asyncio.create_task(made, name="asking-call"))
        self._tasks.add(held.task)
        held.task.add_done_callback(peer.note_end)
        held.task.add_done_callback(self._note_end)
        answer: T | JsonObject = await self._follow(held)
        return answer

    async def _follow(self, held: _Held) -> Any:
        """Wait until a call has ended, or asks, which its client is told."""
        if held.expiry is not None:
            held.expiry.cancel()
        try:
            await held.peer.wait(held.task)
        except asyncio.CancelledError:
            self._forget(held)
            held.task.cancel()
            raise
        if held.task.done():
            self._forget(held)
            if held.task.cancelled():  # it expired, or the process stops
                raise refuse("lost")
            return held.task.result()
        held.expiry = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._expire, held)
        state = self._seal.seal(held.bind(), State(process=self._process, call=held.id))
        return _to_result(held.peer.requests, state)

    async def _settle(self, bind: Bind, peer: ModernPeer, made: Awaitable[T]) -> T | JsonObject:
        """Await the end of a call; a wish for input is written for the client."""
        try:
            result = await made
        except UpstreamRejected as error:
            refusal = error
        else:
            if isinstance(result, JsonObject) and wants_input(result):
                return self._pass_on(bind, peer, result)
            return result
        if refusal.rpc_code == MISSING_REQUIRED_CLIENT_CAPABILITY and refusal.rpc_data:
            raise MCPError(refusal.rpc_code, refusal.rpc_message, refusal.rpc_data)
        elicitations = list_elicitations(refusal.rpc_data)
        if not elicitations:
            raise refusal
        requests = {f"url-{number}": {"method": ELICIT, "params": one} for number, one in enumerate(elicitations, 1)}
        _check_capabilities(peer, requests)
        return _to_result(requests)

    def _pass_on(self, bind: Bind, peer: ModernPeer, result: JsonObject) -> JsonObject:
        """Pass a server's wish on, with its state sealed."""
        wish = Wish.read(result)
        _check_capabilities(peer, wish.requests)
        sealed = None if wish.state is None else self._seal.seal(bind(), State(upstream=wish.state))
        return JsonObject.of({**result, **({} if sealed is None else {"requestState": sealed})})

    def _find(self, state: State) -> _Held | None:
        if state.call is None:
            return None
        held = self._held.get(state.call) if state.process == self._process else None
        if held is None:
            raise refuse("lost")
        return held

    def _admit(self, held: _Held) -> None:
        """Hold a call whose server asks, unless too many are held."""
        if held.id in self._held:
            return
        owners = [other.peer.owner for other in self._held.values()]
        if len(owners) >= MOST_HELD or owners.count(held.peer.owner) >= MOST_HELD_BY_USER:
            raise PeerRefused("Too many calls wait for the answers of their clients; ask again later.")
        self._held[held.id] = held

    def _expire(self, held: _Held) -> None:
        """End a call whose client did not come back: nothing can continue it any more."""
        self._forget(held)
        held.task.cancel()

    def _forget(self, held: _Held) -> None:
        held.peer.is_gone = True
        if held.expiry is not None:
            held.expiry.cancel()
        self._held.pop(held.id, None)

    def _note_end(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            task.exception()  # so that it counts as seen, also where nobody asks for it any more


def _read_round(params: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Read the answers and the state that a client sends along."""
    responses = params.get("inputResponses") or {}
    if not isinstance(responses, dict) or not all(isinstance(one, dict) for one in responses.values()):
        raise MCPError(INVALID_PARAMS, "inputResponses must be an object that holds an object for each request.")
    return dict(responses), params.get("requestState")


def _to_result(requests: dict[str, dict[str, Any]], state: str | None = None) -> JsonObject:
    result: dict[str, Any] = {"resultType": INPUT_REQUIRED, "inputRequests": requests}
    return JsonObject.of(result if state is None else {**result, "requestState": state})


def _check_capabilities(peer: ModernPeer, requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to ask what a client did not declare, with all that it lacks."""
    lacking: dict[str, dict[str, Any]] = {}
    for request in requests.values():
        missing = find_missing(peer.capabilities, request["method"], request.get("params") or {})
        for name, inner in (missing or {}).items():
            lacking.setdefault(name, {}).update(inner)
    if lacking:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"The server needs input by {', '.join(lacking)}, which the client did not declare.",
            {"requiredCapabilities": lacking},
        )
