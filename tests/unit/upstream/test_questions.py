"""Questions of servers with sessions: whom they reach, and what they are answered where they reach nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from nexus_hub.upstream import questions as room
from nexus_hub.upstream.peer import ELICIT, LIST_ROOTS, Pause, Peer, PeerRefused
from nexus_hub.upstream.questions import Questions
from tests.fixtures.peers import NAMED, ROOTS, PlayedPeer


class Line:
    """A session with a server, whose side is played."""

    def __init__(self, *, is_command: bool) -> None:
        self.unattributed = 0
        self.questions = Questions(is_command=is_command, on_unattributed=self._note)
        self.answers: asyncio.Queue[JSONRPCResponse | JSONRPCError] = asyncio.Queue()
        self._sent = 0

    def _note(self) -> None:
        self.unattributed += 1

    async def send(self, item: SessionMessage) -> None:
        assert isinstance(item.message, JSONRPCResponse | JSONRPCError)
        self.answers.put_nowait(item.message)

    @contextmanager
    def call(self, peer: Peer | None) -> Any:
        """A call under way; the id of its request."""
        with self.questions.call(peer, Pause()):
            self._sent += 1
            self.questions.note_sent(JSONRPCRequest(jsonrpc="2.0", id=self._sent, method="tools/call"))
            yield self._sent

    def ask(self, method: str = ELICIT, *, origin: int | None = None, ident: Any = 7, **params: Any) -> None:
        request = JSONRPCRequest(jsonrpc="2.0", id=ident, method=method, params={"message": "?", **params})
        metadata = ServerMessageMetadata(related_request_id=origin)
        assert self.questions.take(SessionMessage(request, metadata), self.send)

    def notify(self, method: str, **params: Any) -> bool:
        notification = JSONRPCNotification(jsonrpc="2.0", method=method, params=params)
        return self.questions.take(SessionMessage(notification), self.send)

    async def answer(self) -> Any:
        """The result that the server got, or the words of the error."""
        async with asyncio.timeout(10):
            answer = await self.answers.get()
        return answer.result if isinstance(answer, JSONRPCResponse) else answer.error.message


@pytest_asyncio.fixture
async def command() -> AsyncIterator[Line]:
    """A session with a command."""
    line = Line(is_command=True)
    yield line
    line.questions.close()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[Line]:
    """A session over HTTP."""
    line = Line(is_command=False)
    yield line
    line.questions.close()


async def never(method: str, params: dict[str, Any]) -> dict[str, Any]:
    del method, params
    return await asyncio.Event().wait()  # type: ignore[return-value]


async def test_over_http_a_question_reaches_the_call_on_whose_stream_it_comes(http: Line) -> None:
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    with http.call(ada) as first, http.call(bob):
        http.ask(origin=first)
        assert await http.answer() == NAMED
    assert (len(ada.asked), len(bob.asked), http.unattributed) == (1, 0, 0)


async def test_a_question_on_the_stream_of_a_call_that_has_ended_reaches_nobody(http: Line) -> None:
    ada = PlayedPeer("ada")
    with http.call(ada) as first:
        pass
    with http.call(ada):
        http.ask(origin=first)
        assert "No call" in await http.answer()
    assert not ada.asked


async def test_a_command_that_serves_one_caller_alone_reaches_that_one(command: Line) -> None:
    ada = PlayedPeer("ada")
    with command.call(ada):
        command.ask()
        assert await command.answer() == NAMED
    assert command.unattributed == 1


@pytest.mark.parametrize("other", [PlayedPeer("bob"), None])
async def test_with_calls_of_two_callers_under_way_a_command_reaches_neither(
    command: Line, other: PlayedPeer | None
) -> None:
    ada = PlayedPeer("ada")
    with command.call(ada), command.call(other):
        command.ask()
        assert "session of its own" in await command.answer()
    assert not ada.asked
    assert other is None or not other.asked
    assert command.unattributed == 1


async def test_a_command_that_ever_served_another_caller_reaches_nobody(command: Line) -> None:
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    with command.call(ada):
        pass
    with command.call(bob):
        command.ask()
        assert "session of its own" in await command.answer()
    assert not bob.asked


async def test_the_standalone_stream_says_no_more_than_a_command(http: Line) -> None:
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    with http.call(ada), http.call(bob):
        http.ask(origin=None)
        assert "session of its own" in await http.answer()
    assert not ada.asked + bob.asked


async def test_of_two_clients_of_one_caller_the_one_is_asked_that_can_answer(command: Line) -> None:
    able, unable = PlayedPeer("ada"), PlayedPeer("ada", capabilities={})
    with command.call(able), command.call(unable):
        command.ask()
        assert await command.answer() == NAMED
    assert len(able.asked) == 1


@pytest.mark.parametrize("method", [ELICIT, "sampling/createMessage"])
async def test_nobody_is_asked_behind_a_job(command: Line, method: str) -> None:
    with command.call(None):
        command.ask(method)
        assert "not offered" in await command.answer()
    assert command.unattributed == 0


async def test_nobody_is_asked_while_no_call_is_under_way(command: Line) -> None:
    command.ask()
    assert "No call" in await command.answer()
    assert command.unattributed == 0


async def test_a_command_never_hears_of_a_clients_roots(command: Line) -> None:
    ada = PlayedPeer("ada")
    with command.call(ada):
        command.ask(LIST_ROOTS)
        assert "Roots" in await command.answer()
    assert not ada.asked
    assert "roots" not in command.questions.offered


async def test_roots_go_to_a_session_of_one_caller_only(http: Line) -> None:
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    with http.call(ada) as first:
        http.ask(LIST_ROOTS, origin=first)
        assert await http.answer() == ROOTS
        with http.call(bob):
            http.ask(LIST_ROOTS, origin=first)
            assert "session of its own" in await http.answer()
    assert "roots" in http.questions.offered


async def test_the_server_is_told_what_the_client_does_not_offer(http: Line) -> None:
    with http.call(PlayedPeer(capabilities={"elicitation": {"form": {}}})) as first:
        http.ask(origin=first, mode="url", url="https://example.org")
        assert "does not offer elicitation.url" in await http.answer()


async def test_a_clients_error_is_the_servers(http: Line) -> None:
    async def refuse(method: str, params: dict[str, Any]) -> dict[str, Any]:
        raise PeerRefused("not today", -1, {"method": method, **params})

    with http.call(PlayedPeer(answers=refuse)) as first:
        http.ask(origin=first)
        answer = await http.answers.get()
    assert isinstance(answer, JSONRPCError)
    assert (answer.error.code, answer.error.message) == (-1, "not today")
    assert answer.error.data == {"method": ELICIT, "message": "?"}


@pytest.mark.parametrize(("ident", "named"), [(7, 7), ("7", 7), (7, "7"), ("q", "q")])
async def test_a_question_that_the_server_takes_back_is_asked_no_more(http: Line, ident: Any, named: Any) -> None:
    ada = PlayedPeer(answers=never)
    with http.call(ada) as first:
        http.ask(origin=first, ident=ident)
        await ada.heard.wait()
        assert http.notify("notifications/cancelled", requestId=named)
        while http.questions._asking:
            await asyncio.sleep(0)
    assert http.answers.empty()


async def test_a_cancellation_of_anything_else_is_left_to_the_sdk(http: Line) -> None:
    assert not http.notify("notifications/cancelled", requestId=1)
    assert not http.notify("notifications/cancelled", requestId=[1])
    assert not http.notify("notifications/progress", progressToken=1)


async def test_a_question_ends_with_its_call(http: Line) -> None:
    ada = PlayedPeer(answers=never)
    with http.call(ada) as first:
        http.ask(origin=first)
        await ada.heard.wait()
    assert "has ended" in await http.answer()


async def test_questions_that_wait_are_bounded(http: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_QUESTIONS", 1)
    ada = PlayedPeer(answers=never)
    with http.call(ada) as first:
        http.ask(origin=first, ident=1)
        await ada.heard.wait()
        http.ask(origin=first, ident=2)
        assert "More than 1" in await http.answer()
    assert len(ada.asked) == 1


async def test_the_end_of_an_elicitation_is_told_to_the_one_who_was_asked(http: Line) -> None:
    ada, bob = PlayedPeer("ada"), PlayedPeer("bob")
    with http.call(ada) as first, http.call(bob):
        http.ask(origin=first, mode="url", url="https://example.org", elicitationId="e")
        await http.answer()
    assert http.notify("notifications/elicitation/complete", elicitationId="unknown")
    assert http.notify("notifications/elicitation/complete", elicitationId="e")
    ada.heard.clear()
    await ada.heard.wait()
    assert ada.completed == [{"elicitationId": "e"}]
    assert not bob.completed


async def test_elicitations_whose_end_is_waited_for_are_bounded(http: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_ELICITATIONS", 2)
    for ident in "abc":
        http.questions.expect_completion(PlayedPeer(), {"elicitationId": ident})
    assert list(http.questions._elicited) == ["b", "c"]


async def test_a_server_without_sessions_asks_nothing_by_requests(http: Line) -> None:
    http.questions.is_modern = True
    request = JSONRPCRequest(jsonrpc="2.0", id=1, method=ELICIT, params={})
    assert not http.questions.take(SessionMessage(request), http.send)
