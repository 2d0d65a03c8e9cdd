"""Messages as servers write them: what can be read is, what can't be says which request it was meant for."""

import json
from typing import Any

import pytest
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from nexus_hub.upstream import cut_results
from nexus_hub.upstream.messages import (
    CUT_OFF,
    LONG_NUMBER,
    MOST_VALUES,
    NOT_JSON,
    TOO_DEEP,
    TOO_MANY,
    Unreadable,
    read_messages,
)


def answer(value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"a":%s}}}' % value


def read_value(raw: bytes) -> Any:
    [message] = read_messages(raw)
    assert isinstance(message, JSONRPCResponse), message
    assert str(message.id) == "7"
    cut = cut_results.take(message.result)
    return (message.result if cut is None else cut)["structuredContent"]["a"]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (answer(b'"\\ud800"'), "\ud800"),
        (answer(b'"a\\udfffb\\u0000c"'), "a\udfffb\0c"),
        (answer(b'"\xff"'), "�"),
        (answer(b'"\x00\x01"'), "\0\1"),
        (answer(b'"a\tb"'), "a\tb"),
        (answer(b"1" * 4000), int("1" * 4000)),
        (answer(b"-0.1e-300"), -0.1e-300),
        (answer(b"1") + b"\r", 1),
        (b"\xef\xbb\xbf" + answer(b"1"), 1),
        (b"\0\0" + answer(b"1") + b"\0", 1),
        (answer(b"1").decode().encode("utf-16"), 1),
        (b"loading... [db] {} " + answer(b"1"), 1),
        (b"\x1b[32mINFO\x1b[0m " + answer(b"1") + b" done", 1),
        (b"[" + answer(b"1") + b"]", 1),
        (json.dumps(json.loads(answer(b"1")), indent=2).encode(), 1),
        (answer(b"1").replace(b"7", b'"7"', 1), 1),
        (answer(b"1").replace(b"7", b"7.0", 1), 1),
        (answer(b"1").replace(b'"jsonrpc":"2.0",', b""), 1),
        (answer(b"1").replace(b'"jsonrpc"', b'"method":"tools/call","jsonrpc"'), 1),
        (answer(b"1").replace(b'"jsonrpc"', b'"error":null,"jsonrpc"'), 1),
    ],
)
def test_an_answer_that_can_be_read_is(raw: bytes, value: object) -> None:
    read = read_value(raw)
    assert (str(read) if isinstance(read, str) else read) == value


@pytest.mark.parametrize("depth", [200, 300, 500])
def test_a_deep_answer_is_read(depth: int) -> None:
    value = read_value(answer(b"[" * depth + b"]" * depth))
    for _ in range(depth - 1):
        [value] = value
    assert value == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (b'"no luck"', -32603, "no luck"),
        (b'{"code":"E_FAIL","message":"no luck"}', -32603, "E_FAIL: no luck"),
        (b'{"code":"-32001","message":"no luck"}', -32001, "no luck"),
        (b'{"code":-32001.0,"message":"no luck"}', -32001, "no luck"),
        (b'{"code":1}', 1, ""),
        (b'{"message":{"why":[1]}}', -32603, '{"why": [1]}'),
        (b'["no luck"]', -32603, '["no luck"]'),
        (b'{"code":null,"message":"\\ud800"}', -32603, "\ud800"),
        (b"true", -32603, "true"),
    ],
)
def test_an_error_of_any_form_is_read(error: bytes, code: int, message: str) -> None:
    [read] = read_messages(b'{"jsonrpc":"2.0","id":7,"error":%s}' % error)
    assert isinstance(read, JSONRPCError)
    assert (read.id, read.error.code, read.error.message) == (7, code, message)


@pytest.mark.parametrize(
    ("raw", "reason", "ids"),
    [
        (answer(b"[" * 100_000 + b"]" * 100_000), TOO_DEEP, {7}),
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":%s}}' % (b"1" * 5000), LONG_NUMBER, {7}),
        (answer(b'"secret')[:-3], CUT_OFF, {7}),
        (b"{'jsonrpc': '2.0', 'id': 7, 'result': {}}", NOT_JSON, {7}),
        (b'{"jsonrpc":"2.0","result":{"x":secret_word,"more":1234567},"id":7}', NOT_JSON, {7}),
        (b'{"jsonrpc":"2.0","id":7,"result":[1]}', "result: must be an object", {7}),
        (b'{"jsonrpc":"2.0","id":7,"result":null}', "result: must be an object", {7}),
        (b'{"jsonrpc":"2.0","id":7}', "it holds neither a result nor an error", {7}),
        (b'{"jsonrpc":"2.0","id":7,"error":null}', "it holds neither a result nor an error", {7}),
        (b'{"jsonrpc":"2.0","result":{}}', "its id is that of no request", set()),
        (b'{"jsonrpc":"2.0","id":true,"result":{}}', "its id is that of no request", set()),
        (b'{"jsonrpc":"2.0","id":{},"result":{}}', "its id is that of no request", set()),
    ],
)
def test_an_answer_that_can_not_be_read_names_its_request_and_the_reason(
    raw: bytes, reason: str, ids: set[int | str]
) -> None:
    [item] = read_messages(raw)
    assert isinstance(item, Unreadable)
    assert (item.reason, set(item.ids), item.is_answer) == (reason, ids, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"[db] connected",
        b"{}",
        b"[]",
        b"null",
        b"42",
        b'"s"',
        b'{"level":"info","msg":"call"}',
        b"\xff\xfe\x00",
        b"<p>",
        b'{"id":7,"note":tru',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"id":7,',
    ],
)
def test_noise_is_the_answer_to_nothing(raw: bytes) -> None:
    [item] = read_messages(raw)
    assert isinstance(item, Unreadable)
    assert not item.is_answer
    assert not item.ids


def test_empty_bytes_are_nothing() -> None:
    assert read_messages(b" \r\n") == []


def test_messages_behind_one_another_are_all_read() -> None:
    note = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}'
    question = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}'
    kinds = [type(item) for item in read_messages(note + b"[" + question + b"," + answer(b"1") + b"]" + note)]
    assert kinds == [JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, JSONRPCNotification]


def test_parameters_that_are_no_object_are_left_out() -> None:
    [message] = read_messages(b'{"jsonrpc":"2.0","method":"notifications/progress","params":[1]}')
    assert isinstance(message, JSONRPCNotification)
    assert message.params is None


def test_much_noise_that_looks_like_json_is_looked_at_a_bounded_number_of_times() -> None:
    [item] = read_messages(b'{"a' * 100_000 + b'": x}' + b" " * 100)
    assert isinstance(item, Unreadable)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"{}," * 200_001 + b"{}]",
        b'{"jsonrpc":"2.0","id":7,"result":{"a":[%s[]]}}' % (b"[]," * 200_001),
    ],
    ids=["messages", "values"],
)
def test_what_holds_too_many_values_is_not_read(raw: bytes) -> None:
    [item] = read_messages(raw)
    assert isinstance(item, Unreadable)
    assert item.reason == TOO_MANY


def test_of_very_many_messages_in_one_body_the_first_are_read() -> None:
    notice = b'{"jsonrpc":"2.0","method":"notifications/x"},'
    assert len(read_messages(b"[" + notice * 5000 + b"{}]")) == MOST_VALUES
