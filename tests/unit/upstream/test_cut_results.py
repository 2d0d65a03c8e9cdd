"""Results that are cut out of messages: each byte as it was sent, and a stub for what the SDK need not read."""

import json
from typing import Any

import pytest

from nexus_hub.json_object import JsonObject
from nexus_hub.upstream.cut_results import LARGE_VALUE_BYTES, MEMBER, MOST_MEMBERS, cut, take

LARGE = "x" * (LARGE_VALUE_BYTES + 1)
ODD_RESULTS = [
    '{"content":[]}',
    '{"z":1,"content":[],"a":2}',
    '{ "content" : [ ] ,\r\n\t"n" : [1.10, 1E5, -0, -0.0, 1e400, 12345678901234567890123456789] }',
    '{"content":[],"n":' + "9" * 5000 + "}",
    '{"content":[],"n":0.1000000000000000055511151231257827021181583404541015625}',
    '{"content":[{"type":"text","text":"half \\ud800, NUL \\u0000, \\udc00"}]}',
    '{"content":[{"type":"text","text":"]}\\\\\\"}],\\"result\\":{"}]}',
    '{"content":[],"structuredContent":' + '{"a":' * 300 + "1" + "}" * 300 + "}",
    '{"content":[{"type":"image","data":"' + LARGE + '","mimeType":"image/png"}]}',
    '{"content":[],"structuredContent":{"list":[' + ",".join(["{}"] * 40_000) + "]}}",
    '{"contents":[{"uri":"a","text":"' + LARGE + '"}]}',
    '{"messages":[],"description":"\u00e9\U0001f600"}',
    '{"content":[{"type":"text","text":"NaN, Infinity"}]}',
    '{"content":[],"_meta":{"own":1},"isError":true}',
]
ENVELOPES = [
    '{{"jsonrpc":"2.0","id":7,"result":{}}}',
    '{{"result":{},"jsonrpc":"2.0","id":7}}',
    ' {{"jsonrpc" : "2.0", "result" :{} , "id":7 }} \n',
]


def split(message: str) -> tuple[dict[str, Any], JsonObject | None]:
    """What the SDK gets, and what was cut out."""
    rest, text = cut(message.encode())
    found: dict[str, Any] = json.loads(rest)
    return found, text


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("result", ODD_RESULTS, ids=lambda text: text[:40])
def test_the_text_of_a_result_is_kept_byte_by_byte(envelope: str, result: str) -> None:
    message, text = split(envelope.format(result))
    assert (message["jsonrpc"], message["id"]) == ("2.0", 7)
    assert text is not None
    assert text.text == result.encode()
    assert MEMBER not in message["result"]


def test_small_values_stay_for_the_check_and_large_ones_leave_their_kind() -> None:
    result = f'{{"content":[{{"data":"{LARGE}"}}],"structuredContent":{{"n":1}},"isError":false,"own":"x"}}'
    rest = split(ENVELOPES[0].format(result))[0]["result"]
    assert rest == {"content": [], "structuredContent": {"n": 1}, "isError": False, "own": "x"}


LIST = "[" + ",".join(['{"id":1,"resultType":"x"}'] * 5000) + "]"


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('{"content":[],"structuredContent":{"l":LIST},"resultType":"complete"}', ""),
        ('{"resultType":"complete","structuredContent":{"l":LIST},"content":[]}', ""),
        ('{"structuredContent":{"l":LIST,"resultType":"own"},"content":[]}', "resultType"),
        ('{"content":[{"text":"LIST,\\"resultType\\":\\"own\\"}"}]}', "resultType"),
        ('{"content":[],"a":{"l":LIST,"b":{"resultType":"own"}}}', "resultType"),
        ('{"content":[],"structuredContent":{"l":LIST} , "isError" : true , "resultType" : "complete" }', ""),
    ],
    ids=list("abcdef"),
)
def test_what_follows_a_large_value_is_found_from_the_end(envelope: str, given: str, kept: str) -> None:
    given = given.replace("LIST", LIST if "LIST," not in given or "text" not in given else LIST.replace('"', "'"))
    message, text = split(envelope.format(given))
    assert (message["jsonrpc"], message["id"]) == ("2.0", 7)
    assert text is not None
    expected = json.loads(given)
    if not kept:
        del expected["resultType"]
    assert dict(text) == expected
    assert message["result"].get("isError") == expected.get("isError")


@pytest.mark.parametrize("value", ['"\\ud800"', "9" * 5000, "[" * 300 + "]" * 300], ids=["half", "digits", "deep"])
def test_a_small_value_that_the_sdk_may_refuse_is_kept_from_it(value: str) -> None:
    rest, _ = split(ENVELOPES[0].format(f'{{"content":[],"structuredContent":{value}}}'))
    assert rest["result"]["structuredContent"] in ("", 0, [])


def test_what_only_the_transport_needs_is_left_out() -> None:
    server = '"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}'
    for given, kept in (
        ('{"resultType":"complete","content":[],"z":1.0}', '{"content":[],"z":1.0}'),
        (f'{{"z":1.0,"_meta":{{{server}}},"content":[]}}', '{"z":1.0,"content":[]}'),
        (f'{{"_meta":{{"b":1,{server},"a":2}},"content":[]}}', '{"_meta":{"b":1,"a":2},"content":[]}'),
    ):
        _, text = split(ENVELOPES[0].format(given))
        assert text is not None
        assert text.text.decode() == kept


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[1]",
        '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"\\"result\\""}}',
        '{"jsonrpc":"2.0","method":"x","params":{"result":{"content":[]}}}',
        '{"jsonrpc":"2.0","id":1,"method":"x","result":{"content":[]}}',
        '{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}',
        '{"jsonrpc":"2.0","id":1,"result":[{"content":[]}]}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[]},"result":{"content":[]}}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[],"content":[]}}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[NaN]}}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[-Infinity]}}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[]}} and more',
        '{"jsonrpc":"2.0","id":1,"result":{"content":["a',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[}',
        '{"jsonrpc":"2.0","id":1,"result":{"content":[]',
        '{"jsonrpc":"2.0","id":1,"result":{"content":' + "[" * 2000 + "]" * 2000 + "}}",
    ],
    ids=lambda text: text[:60],
)
def test_any_other_message_is_left_to_the_sdk(message: str) -> None:
    assert cut(message.encode()) == (message.encode(), None)


def test_only_what_was_cut_out_here_is_taken() -> None:
    _, text = cut(ENVELOPES[0].format('{"content":[]}').encode())
    assert take({"content": [], MEMBER: "guessed"}) is None
    assert take({"content": [], MEMBER: {"content": ["no text"]}}) is None
    assert take({"content": [], MEMBER: text}) is text


def test_a_result_of_very_many_members_is_left_to_the_sdk() -> None:
    members = ",".join(f'"m{number}":1' for number in range(MOST_MEMBERS))
    message = ENVELOPES[0].format(f'{{"content":[],{members}}}').encode()
    assert cut(message) == (message, None)
