"""Servers that refuse: a forgotten session is opened anew, once; what will not change is told in their words."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from nexus_hub.calls.retries import UPSTREAM
from nexus_hub.errors import OutcomeUnknown, UpstreamError, UpstreamRejected, UpstreamUnavailable
from nexus_hub.execution.recorder import NEVER_SENT
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.careless import Careless, Reply, reply_error, succeed
from tests.fixtures.upstreams import own_server, target

CANARY = "canary-4f9d2c"
SAY = ToolCall("say")


async def refusal(connections: Connections, careless: Careless) -> UpstreamError:
    config = HttpConfig(url=careless.url, headers={"Authorization": SecretStr(f"Bearer {CANARY}")})
    with pytest.raises(UpstreamError) as caught:
        await connections.request(target(config), SAY, timeout=60)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


def text(status: int, words: str, kind: str = "text/plain", **headers: str) -> Reply:
    return Reply(words.encode(), status, kind, headers)


FORGOTTEN = [
    text(400, "Bad Request: No valid session ID provided"),
    text(400, '{"error": "session expired"}', "application/json"),
    text(404, "Unknown session"),
    text(410, "Session is gone, it has expired"),
    text(422, '{"detail": "Mcp-Session-Id header is invalid: unknown session"}', "application/json"),
    text(401, "Session expired"),
    text(409, "Server not initialized"),
    text(500, "Session not found"),
    reply_error(-32001, "Session not found"),
    reply_error(-32600, "Session expired", 400),
    reply_error(-32600, "Invalid session"),
    reply_error(-32000, "Bad Request: Server not initialized"),
    reply_error(-32000, "Bad Request: Server not initialized", 400),
    reply_error(-32002, "Server not initialized", 422),
    reply_error(-32000, "Bad Request: No valid session ID provided", 404),
    Reply(
        b'data: {"jsonrpc":"2.0","id":$id,"error":{"code":-32001,"message":"Session terminated"}}\n\n',
        kind="text/event-stream",
    ),
]


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("reply", FORGOTTEN, ids=lambda reply: f"{reply.status}")
async def test_a_forgotten_session_is_opened_anew_within_the_call(
    connections: Connections, careless: Careless, reply: Reply, modern: bool
) -> None:
    careless.modern = modern
    careless.on_call = lambda: reply if careless.calls == 1 else succeed(resultType="complete")
    await connections.request(target(HttpConfig(url=careless.url)), SAY, timeout=60)
    assert (careless.opened, careless.calls) == (2, 2)


@pytest.mark.parametrize("reply", FORGOTTEN, ids=lambda reply: f"{reply.status}")
async def test_a_session_that_is_forgotten_twice_is_a_verdict(
    connections: Connections, careless: Careless, reply: Reply
) -> None:
    careless.on_call = lambda: reply
    await refusal(connections, careless)
    assert (careless.opened, careless.calls) == (2, 2)


async def test_a_server_of_the_newer_era_that_speaks_only_the_older_one_now_is_opened_anew(
    connections: Connections, careless: Careless
) -> None:
    careless.modern = True

    def downgrade() -> Reply:
        if careless.modern:
            careless.modern = False
            return reply_error(-32022, "Unsupported protocol version", 400)
        return succeed()

    careless.on_call = downgrade
    assert await connections.request(target(HttpConfig(url=careless.url)), SAY, timeout=60) == {"content": []}


async def test_a_process_that_says_that_it_is_not_initialized_is_started_anew(
    connections: Connections, tmp_path: Path
) -> None:
    error = '{"jsonrpc":"2.0","id":$id,"error":{"code":-32002,"message":"Server not initialized"}}\n'
    call = ToolCall("say", {"once": error})
    result = await connections.request(target(own_server("careless", str(tmp_path))), call, timeout=60)
    assert result["structuredContent"]["start"] == 2


@pytest.mark.parametrize(
    "reply",
    [
        reply_error(-32000, "The shop's session expired"),
        reply_error(-32602, "session must be a number"),
        reply_error(-32603, "Session not found"),
    ],
)
async def test_a_tools_own_words_about_sessions_are_no_reason_to_call_it_again(
    connections: Connections, careless: Careless, reply: Reply
) -> None:
    careless.on_call = lambda: reply
    assert isinstance(await refusal(connections, careless), UpstreamRejected)
    assert careless.calls == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (reply_error(-32000, "this key may not call echo", 403), "this key may not call echo"),
        (text(403, "this key may not call echo"), "this key may not call echo"),
        (text(401, '{"error":"invalid_token","error_description":"it is old"}', "application/json"), "it is old"),
        (Reply(b"", 401, headers={"www-authenticate": 'Bearer error="insufficient_scope"'}), "insufficient_scope"),
        (Reply(b"", 403), "check its headers"),
        (Reply(b"<html>nothing here</html>", 407, "text/html"), "check its headers"),
        (text(400, "no such thing"), "(HTTP 400): no such thing"),
        (text(405, "", "text/plain"), "no MCP endpoint"),
        (text(413, "too much"), "too much"),
        (text(415, '{"detail":"send JSON"}', "application/json"), "send JSON"),
        (text(422, '{"message":"no"}', "application/json"), "no"),
        (reply_error(-32602, "count must be positive", 400), "count must be positive"),
    ],
)
@pytest.mark.parametrize("at", ["call", "open"])
async def test_a_refusal_that_will_not_change_is_told_with_its_words_and_not_repeated(
    connections: Connections, careless: Careless, reply: Reply, words: str, at: str
) -> None:
    if at == "call":
        careless.on_call = lambda: reply
    else:
        careless.on_open = lambda: reply
    error = await refusal(connections, careless)
    assert isinstance(error, UpstreamRejected)
    assert not isinstance(error, NEVER_SENT)
    assert not UPSTREAM.is_passing(error)
    assert words in error.message
    assert (careless.opened, careless.calls) == (1, 1 if at == "call" else 0)


async def test_the_words_of_a_refusal_are_bounded_spelled_out_and_without_our_secrets(
    connections: Connections, careless: Careless
) -> None:
    careless.on_call = lambda: text(403, f"\x1b[31m{CANARY}\u202e is no good\n" + "x" * 5000)
    error = await refusal(connections, careless)
    assert "\\u001b[31m***\\u202e is no good xxx" in error.message
    assert len(error.message) < 700
    careless.on_call = lambda: reply_error(-32000, f"Bearer {CANARY} is no good", 400)
    assert "*** is no good" in (await refusal(connections, careless)).message


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("at", ["call", "open"])
@pytest.mark.parametrize("later", [{}, {"retry-after": "7"}])
@pytest.mark.parametrize("rpc", [False, True])
async def test_a_server_that_is_starting_or_overloaded_is_told_from_one_that_is_gone(
    connections: Connections, careless: Careless, status: int, at: str, later: dict[str, str], rpc: bool
) -> None:
    reply = reply_error(-32000, "warming up", status, **later) if rpc else text(status, "warming up", **later)
    if at == "call":
        careless.on_call = lambda: reply
    else:
        careless.on_open = lambda: reply
    error = await refusal(connections, careless)
    assert isinstance(error, OutcomeUnknown if at == "call" else UpstreamUnavailable)
    assert f"is starting or overloaded (HTTP {status})" in error.message
    assert ("asks to come back in 7 s" in error.message) == bool(later)
    assert "warming up" in error.message
    assert error.retry_after == (7 if later else None)


async def test_a_long_error_page_keeps_its_status(connections: Connections, careless: Careless) -> None:
    careless.on_open = lambda: Reply(b"<html>" + b"x" * 200_000, 503, "text/html")
    assert "HTTP 503" in (await refusal(connections, careless)).message


async def test_an_error_of_a_broken_server_is_not_called_a_lost_connection(
    connections: Connections, careless: Careless
) -> None:
    careless.on_call = lambda: text(500, "<html>oops</html>", "text/html")
    error = await refusal(connections, careless)
    assert isinstance(error, OutcomeUnknown)
    assert "failed (HTTP 500)" in error.message
    careless.on_call = lambda: text(500, '{"error": "oops"}', "application/json")
    assert isinstance(await refusal(connections, careless), OutcomeUnknown)
