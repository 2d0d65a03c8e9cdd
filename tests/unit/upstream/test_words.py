"""Words of servers: those that say that a session is forgotten, and those that are shown."""

import pytest
from pydantic import SecretStr

from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.words import LONGEST, find_reason, find_secrets, is_forgotten, make_safe

FORGOTTEN = [
    "Session not found",
    "Bad Request: No valid session ID provided",
    "Bad Request: Server not initialized",
    "Session expired",
    "Your session has expired, please reinitialize",
    "Invalid session ID",
    "Unknown session",
    "session_not_found",
    "Session terminated",
    "Session with ID 0123-abc does not exist",
    "Could not find session",
    "No session found for id 7",
    "Error: unknown session id",
    "Missing Mcp-Session-Id header",
    "Mcp-Session-Id header is required",
    "MCP session has been closed",
    "Server not initialized",
    "Not initialized",
    "Client must send initialize before initialization",
    "Received request before initialization was complete",
    "Invalid or expired session",
]


@pytest.mark.parametrize("text", FORGOTTEN)
@pytest.mark.parametrize("code", [None, -32600, -32000, -32001])
def test_a_forgotten_session_is_understood_in_whatever_words(text: str, code: int | None) -> None:
    assert is_forgotten(text, code=code)


@pytest.mark.parametrize(
    "text",
    [
        "The browser session of the shop has expired, log in again",
        "LinkedIn session expired",
        "Database not initialized",
        "Unknown tool: session",
        "Method not found",
        "Invalid params",
        "no such table: sessions",
        "count must be positive",
        "",
    ],
)
def test_words_of_a_tool_about_something_else_are_not_about_our_session(text: str) -> None:
    assert not is_forgotten(text, code=-32000)


def test_a_code_of_methods_and_tools_is_never_about_our_session() -> None:
    assert not is_forgotten("Session not found", code=-32602)
    assert not is_forgotten("Session not found", code=-32050)


def test_where_the_request_was_refused_the_topic_is_enough() -> None:
    assert is_forgotten("I have never heard of that session", refused=True)
    assert not is_forgotten("count must be positive", refused=True)


@pytest.mark.parametrize(
    ("content", "kind", "challenge", "reason"),
    [
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no echo"}}', "application/json", "", "no echo"),
        (b'{"error":"invalid_token","error_description":"too old"}', "application/json", "", "too old"),
        (b'{"error":"invalid_token"}', "application/json", "", "invalid_token"),
        (b'{"detail":"bad"}', "application/problem+json", "", "bad"),
        (b'{"title":"Forbidden","status":403}', "application/json", "", "Forbidden"),
        (b'"no luck"', "application/json", "", "no luck"),
        (b'{"message":', "application/json", 'Bearer error="invalid_token"', "invalid_token"),
        (b"\xef\xbb\xbfslow down\n", "text/plain", "", "slow down"),
        (b"<html><body>Forbidden</body></html>", "text/html", "", ""),
        (b"", "", 'Bearer error="insufficient_scope", error_description="ask"', "insufficient_scope: ask"),
        (b"", "", 'Bearer resource_metadata="http://x"', ""),
        (b'\x00data: {"jsonrpc":"2.0","id":1,"result":{"content":[]}}', "text/event-stream", "", ""),
        (b"[" * 100_000, "application/json", "", ""),
        (b'{"a":' * 100_000, "application/json", "", ""),
    ],
)
def test_the_reason_is_found_where_servers_put_it(content: bytes, kind: str, challenge: str, reason: str) -> None:
    assert find_reason(content, kind, challenge) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('null\ndata: [ "a", [ { "": "secret" }', "null\ndata:"),
        ('Bad Request: {"secret": 1}', "Bad Request:"),
        ('event: message\ndata: {\n "result": "secret"', "event: message\ndata:"),
        ('no [[1, 2, "secret"]]', "no"),
        ('no [1, null, "secret"', "no"),
        ('log [error] said "no" to {you}', 'log [error] said "no" to {you}'),
        ("[400] no such thing", "[400] no such thing"),
    ],
)
def test_what_may_be_an_answer_is_no_reason(text: str, reason: str) -> None:
    assert find_reason(text.encode(), "text/plain") == reason


def test_words_are_bounded_and_without_control_characters() -> None:
    assert make_safe("a\n\tb  c") == "a b c"
    assert make_safe("\x1b[31mred\u202e\u200b\0\ud800") == "\\u001b[31mred\\u202e\\u200b\\u0000\\ud800"
    assert len(make_safe("x" * 10_000)) == LONGEST


def test_what_a_server_repeats_of_its_configuration_is_masked() -> None:
    headers = {"Authorization": "Bearer key-4f9d2c", "X-Key": "other-secret", "X": "1"}
    http = HttpConfig(
        url="https://ann:pass-word@host/v1/0123456789abcdef0123/mcp?api_key=in-the-query",
        headers={name: SecretStr(value) for name, value in headers.items()},
    )
    said = make_safe(
        "key-4f9d2c of Bearer key-4f9d2c, other-secret: 1, no POST:/v1/0123456789abcdef0123/mcp", find_secrets(http)
    )
    assert said == "*** of ***, ***: 1, no POST:/v1/***/mcp"
    assert (
        make_safe("?api_key=in-the-query or in-the-query of ann:pass-word", find_secrets(http))
        == "?*** or *** of ann:***"
    )
    stdio = StdioConfig(
        command="run",
        args=("--token=0123456789abcdef0123", "serve"),
        env={"KEY": SecretStr("env-secret"), "LEVEL": SecretStr("debug")},
    )
    assert make_safe("env-secret, debug, 0123456789abcdef0123, serve", find_secrets(stdio)) == "***, debug, ***, serve"


def test_a_long_row_of_opening_words_is_read_in_no_time() -> None:
    assert not is_forgotten("error " * 83 + "x", code=-32000)
