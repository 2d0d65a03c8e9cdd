"""Answers that servers write badly cost only themselves: read where they can be, else the call ends at once.

No call here has a time-out: one that hung would hold up the test.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_hub.errors import MalformedResult, TooLarge, UpstreamError, UpstreamRejected
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.careless import Careless, Reply
from tests.fixtures.upstreams import own_server, target

SECRET = "secret-of-the-answer"
START = '{"jsonrpc":"2.0","id":$id,"result":'
READABLE = {
    "surrogates": (r'{"content":[],"structuredContent":{"k\u0000":"a\ud800b\udfff"}}', {"k\0": "a\ud800b\udfff"}),
    "bytes that are no UTF-8": ('{"content":[],"structuredContent":{"a":"\xff\xfe"}}', {"a": "��"}),
    "raw control characters": ('{"content":[],"structuredContent":{"a":"\0\1\t"}}', {"a": "\0\1\t"}),
    "a large number": ('{"content":[],"structuredContent":{"a":%s}}' % ("9" * 300), {"a": int("9" * 300)}),
    "the same member twice": ('{"content":[],"structuredContent":{"a":1,"a":2}}', {"a": 2}),
}
UNREADABLE = {
    "nested too deep": START + '{"content":[],"structuredContent":{"a":' + "[" * 50_000 + "]" * 50_000 + "}}}",
    "too many digits": START + '{"a":%s}}' % ("9" * 5000),
    "not JSON": "{'jsonrpc': '2.0', 'id': $id, 'result': {'content': '" + SECRET + "'}}",
    "not complete": START + '{"content":"' + SECRET,
    "result: must be an object": START + f'["{SECRET}"]}}',
    "neither a result nor an error": '{"jsonrpc":"2.0","id":$id}',
}


@pytest.fixture
def stdio(tmp_path: Path) -> Target:
    return target(own_server("careless", str(tmp_path)))


async def ask_stdio(connections: Connections, stdio: Target, **arguments: Any) -> Mapping[str, Any]:
    async with asyncio.timeout(60):
        return await connections.request(stdio, ToolCall("say", arguments), timeout=None)


async def ask_http(connections: Connections, careless: Careless, body: str, kind: str) -> Mapping[str, Any]:
    careless.on_call = lambda: Reply(body.encode("latin-1"), kind=kind)
    async with asyncio.timeout(60):
        upstream = target(HttpConfig(url=careless.url))
        return await connections.request(upstream, ToolCall("say"), timeout=None)


def assert_silent_about_the_answer(error: UpstreamError) -> None:
    assert SECRET not in repr(error)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("way", ["stdio", "json", "sse"])
async def test_an_answer_that_can_be_read_is(
    connections: Connections, stdio: Target, careless: Careless, name: str, way: str
) -> None:
    result, value = READABLE[name]
    match way:
        case "stdio":
            read = await ask_stdio(connections, stdio, raw=f"{START}{result}}}\n")
        case "json":
            read = await ask_http(connections, careless, f"{START}{result}}}", "application/json")
        case _:
            read = await ask_http(connections, careless, f"data: {START}{result}}}\n\n", "text/event-stream")
    assert json.dumps(read["structuredContent"]) == json.dumps(value)


@pytest.mark.parametrize("way", ["stdio", "json", "sse"])
async def test_a_deep_answer_is_read(connections: Connections, stdio: Target, careless: Careless, way: str) -> None:
    body = START + '{"content":[],"structuredContent":{"a":' + "[" * 300 + "]" * 300 + "}}}"
    match way:
        case "stdio":
            read = await ask_stdio(connections, stdio, raw=body + "\n")
        case "json":
            read = await ask_http(connections, careless, body, "application/json")
        case _:
            read = await ask_http(connections, careless, f"data: {body}\n\n", "text/event-stream")
    assert json.dumps(read["structuredContent"]) == '{"a": ' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize("reason", UNREADABLE)
@pytest.mark.parametrize("way", ["stdio", "json", "sse"])
async def test_an_answer_that_can_not_be_read_ends_its_call_with_the_reason(
    connections: Connections, stdio: Target, careless: Careless, reason: str, way: str
) -> None:
    body = UNREADABLE[reason]
    with pytest.raises(MalformedResult, match=reason) as caught:  # noqa: PT012
        match way:
            case "stdio":
                await ask_stdio(connections, stdio, raw=body + "\n")
            case "json":
                await ask_http(connections, careless, body, "application/json")
            case _:
                await ask_http(connections, careless, f"data: {body}\n\n", "text/event-stream")
    assert "may have been done" in caught.value.message
    assert_silent_about_the_answer(caught.value)
    assert caught.value.answer == ([SECRET] if "must be an object" in reason else None)


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"content": []}}, indent=1) + "\n",
        'loading... {"jsonrpc": "2.0", "id": 0, "result": {"content": []}}\n',
        '[db] connected\n\n{}\n[]\nnull\n{"level":"info"}\n{"jsonrpc": "2.0", "id": 0, "result": {"content": []}}\r\n',
        '{"jsonrpc": "2.0", "id": 0, "result": {"content": []}}',
        '\0\0{"jsonrpc": "2.0", "id": "0", "result": {"content": []}}\0\n',
        '[{"jsonrpc": "2.0", "id": 0.0, "result": {"content": []}}]\n',
        '{"jsonrpc":"2.0","id":987654,"result":{}}\n{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}\n'
        '{"jsonrpc": "2.0", "id": 0, "result": {"content": []}}\n',
        '\xef\xbb\xbf{"id": 0, "result": {"content": []}}\n',
    ],
)
async def test_a_line_that_is_written_oddly_costs_nothing(connections: Connections, stdio: Target, raw: str) -> None:
    raw = raw.replace('"id": 0.0', '"id": $id.0').replace('"id": "0"', '"id": "$id"').replace('"id": 0', '"id": $id')
    assert await ask_stdio(connections, stdio, raw=raw) == {"content": []}


@pytest.mark.parametrize(
    "raw",
    [
        '{"jsonrpc":"2.0","result":{"content":[]}}\n',
        '{"jsonrpc":"2.0","id":null,"result":{"content":[]}}\n',
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}\n',
        '{"jsonrpc":"2.0","result":' + "[" * 50_000 + "\n",
        '{"jsonrpc":"2.0","resu\n',
    ],
)
async def test_garbage_that_was_probably_the_answer_to_the_only_call_ends_it(
    connections: Connections, stdio: Target, raw: str
) -> None:
    with pytest.raises(MalformedResult):
        await ask_stdio(connections, stdio, raw=raw)
    assert (await ask_stdio(connections, stdio))["structuredContent"]["start"] == 1


async def test_a_bad_answer_ends_no_other_call(connections: Connections, stdio: Target) -> None:
    await ask_stdio(connections, stdio)
    waiting = asyncio.create_task(ask_stdio(connections, stdio, hold=True))
    await asyncio.sleep(0.1)
    for raw in (UNREADABLE["not JSON"], UNREADABLE["not complete"], '{"jsonrpc":"2.0","id":$id,"result":7}'):
        with pytest.raises(MalformedResult):
            await ask_stdio(connections, stdio, raw=raw + "\n")
    assert not waiting.done()
    assert (await ask_stdio(connections, stdio))["structuredContent"]["start"] == 1
    waiting.cancel()


async def test_the_last_words_of_a_process_are_read_without_a_newline(connections: Connections, stdio: Target) -> None:
    raw = '{"jsonrpc":"2.0","id":$id,"result":{"content":[]}}'
    assert await ask_stdio(connections, stdio, raw=raw, exit=True) == {"content": []}


@pytest.mark.parametrize(("error", "words"), [('"no luck"', "no luck"), ('{"code":"E","message":"no"}', "E: no")])
@pytest.mark.parametrize("way", ["stdio", "json", "sse"])
async def test_an_error_that_is_a_text_is_the_servers_refusal(
    connections: Connections, stdio: Target, careless: Careless, error: str, words: str, way: str
) -> None:
    body = '{"jsonrpc":"2.0","id":$id,"error":' + error + "}"
    with pytest.raises(UpstreamRejected, match=words):  # noqa: PT012
        match way:
            case "stdio":
                await ask_stdio(connections, stdio, raw=body + "\n")
            case "json":
                await ask_http(connections, careless, body, "application/json")
            case _:
                await ask_http(connections, careless, f"data: {body}\n\n", "text/event-stream")


@pytest.mark.parametrize("end", ["\n", ""])
async def test_a_line_over_the_limit_ends_the_calls_under_way_and_the_next_one_has_a_new_process(
    stdio: Target, end: str
) -> None:
    async with Connections(log_dir=None, max_bytes=1_000_000) as connections:
        waiting = asyncio.create_task(ask_stdio(connections, stdio, hold=True))
        await asyncio.sleep(0.5)
        with pytest.raises(TooLarge) as caught:
            await ask_stdio(connections, stdio, size=3_000_000, raw=end)
        with pytest.raises(TooLarge):
            await waiting
        assert caught.value.limit == 1_000_000
        assert (await ask_stdio(connections, stdio))["structuredContent"]["start"] == 2


async def test_a_line_within_the_limit_is_read(stdio: Target) -> None:
    text = "x" * 900_000
    raw = START + '{"content":[{"type":"text","text":"' + text + '"}]}}\n'
    async with Connections(log_dir=None, max_bytes=1_000_000) as connections:
        assert (await ask_stdio(connections, stdio, raw=raw))["content"][0]["text"] == text


async def test_an_event_over_the_limit_is_too_large(careless: Careless) -> None:
    body = "data: " + START + '{"content":[{"type":"text","text":"' + "x" * 200_000 + '"}]}}\n\n'
    async with Connections(log_dir=None, max_bytes=100_000) as connections:
        with pytest.raises(TooLarge):
            await ask_http(connections, careless, body, "text/event-stream")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('\xef\xbb\xbfdata: {"jsonrpc":"2.0","id":$id,"result":{"content":[]}}\n\n', "text/event-stream"),
        ('\xef\xbb\xbfdata: {"jsonrpc":"2.0","id":$id,"result":{"content":[]}}\n\n', "text/event-stream;charset=utf-8"),
        ('event: result\ndata: {"jsonrpc":"2.0","id":$id,"result":{"content":[]}}\n\n', "text/event-stream"),
        ('data: {}\n\ndata: hi\n\ndata: {"jsonrpc":"2.0","id":1e9,"result":{"content":[]}}\n\n', "text/event-stream"),
        ('\xef\xbb\xbf{"jsonrpc":"2.0","id":$id,"result":{"content":[]}}', "application/json"),
        ('[{"jsonrpc":"2.0","id":$id,"result":{"content":[]}}]', "application/json"),
        ('{"jsonrpc":"2.0","id":"other","result":{"content":[]}}', "application/json"),
        ('{"jsonrpc":"2.0","id":$id,"result":{"content":[]}}', "text/plain"),
        ('{"jsonrpc":"2.0","id":$id,"result":{"content":[]}}', "application/json-rpc"),
        ('event: message\ndata: {"jsonrpc":"2.0","id":$id,"result":{"content":[]}}\n\n', "application/json"),
    ],
)
async def test_a_response_that_is_written_oddly_costs_nothing(
    connections: Connections, careless: Careless, body: str, kind: str
) -> None:
    assert await ask_http(connections, careless, body, kind) == {"content": []}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"", 200), "it is empty"),
        (Reply(b"", 202), "it is empty"),
        (Reply(b"", 204), "it is empty"),
        (Reply(b"<html>login</html>", 200, "text/html"), "it is not JSON"),
        (Reply(b"Internal error secret-of-the-answer", 200, "text/plain"), "it is not JSON"),
        (Reply(b"null"), "it is not JSON"),
    ],
)
async def test_a_response_without_an_answer_ends_the_call_with_the_reason(
    connections: Connections, careless: Careless, reply: Reply, reason: str
) -> None:
    careless.on_call = lambda: reply
    with pytest.raises(MalformedResult, match=reason) as caught:
        await connections.request(target(HttpConfig(url=careless.url)), ToolCall("say"), timeout=None)
    assert_silent_about_the_answer(caught.value)


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_a_result_that_breaks_the_protocol_is_named_and_kept(
    connections: Connections, stdio: Target, careless: Careless, way: str
) -> None:
    body = '{"jsonrpc":"2.0","id":$id,"result":{"content":[],"structuredContent":["' + SECRET + '"]}}'
    asked = (
        ask_stdio(connections, stdio, raw=body + "\n")
        if way == "stdio"
        else ask_http(connections, careless, body, "application/json")
    )
    with pytest.raises(MalformedResult, match="structuredContent: must be an object") as caught:
        await asked
    assert caught.value.answer == {"content": [], "structuredContent": [SECRET]}
    assert_silent_about_the_answer(caught.value)


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_arguments_with_lone_surrogates_arrive(
    connections: Connections, stdio: Target, careless: Careless, way: str
) -> None:
    if way == "stdio":
        read = await ask_stdio(connections, stdio, note="\ud800")
        assert read["structuredContent"]["arguments"] == {"note": "\ud800"}
    else:
        call = ToolCall("say", {"note": "\ud800"})
        await connections.request(target(HttpConfig(url=careless.url)), call, timeout=None)
        assert careless.calls == 1
