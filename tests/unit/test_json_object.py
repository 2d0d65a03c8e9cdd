"""JSON objects as texts, and what jsonb is given in their place."""

import json
import sys
from typing import Any

import pytest

from nexus_hub import json_object
from nexus_hub.escape import escape, unescape
from nexus_hub.json_object import JsonObject, escape_text


def test_an_object_reads_as_a_mapping_in_the_order_of_its_text() -> None:
    found = JsonObject(b'{"z":1,"a":{"b":[2]},"m":null}')
    assert found == {"z": 1, "a": {"b": [2]}, "m": None}
    assert list(found) == ["z", "a", "m"]
    assert len(found) == 3


def test_a_text_that_was_given_is_kept_byte_by_byte() -> None:
    text = b'{ "n" : 1.10, "e":1E400,\n"s":"\xc3\xa9\\u00e9" }'
    assert JsonObject.of(JsonObject(text)).text == text


def test_the_representation_of_an_object_holds_nothing_of_it() -> None:
    assert repr(JsonObject(b'{"secret":"canary"}')) == "JsonObject(19 bytes)"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_null_stands_for_a_number_that_json_does_not_know(number: float) -> None:
    assert JsonObject.of({"a": [number, {"b": number}], "c": 1}).text == b'{"a":[null,{"b":null}],"c":1}'


def test_integers_of_any_length_can_be_looked_at() -> None:
    assert JsonObject(b'{"n":' + b"9" * 30 + b"}")["n"] == 10**30 - 1
    assert JsonObject(b'{"n":' + b"9" * 5000 + b',"s":1}')["s"] == 1


@pytest.mark.parametrize(
    "value",
    [
        "\x00",
        "\x1a0000",
        "a \ud800 b",
        "\udfff\ud800",
        "\\u0000 is no NUL",
        "\\\x00",
        "\\\\u0000",
        {"\x00": ["\ud83d", "\U0001f600"], "\ud83d\x00": 1},
        ["\U0001f600\udc00", "\ud800\U0001f600"],
    ],
)
def test_a_text_is_escaped_as_its_value_would_be(value: Any) -> None:
    text = JsonObject.of({"v": value}).text
    escaped = escape_text(text) or text
    assert json.loads(escaped) == escape({"v": value})
    assert unescape(json.loads(escaped)) == {"v": value}


@pytest.mark.parametrize("value", ["plain", "\U0001f600", "\\u0000", '\n\t"\\', "é", "\\\\", {"a": 1.5}])
def test_a_text_that_jsonb_takes_stays_as_it_is(value: Any) -> None:
    assert escape_text(JsonObject.of({"v": value}).text) is None


@pytest.mark.parametrize("one", ["\\\\", "\\u00e9", "\\ud83d\\ude00", "\\n", '\\"', "\\\\u0000", "\\/"])
@pytest.mark.parametrize("refused", ["", "\\u0000", "\\u001A", "\\uD800", "\\udC00", "\\udbff\\ud800"])
def test_of_any_number_of_escapes_only_those_that_jsonb_refuses_change(one: str, refused: str) -> None:
    text = f'{{"v":"{one * 50}{refused}{one * 50}{refused}"}}'.encode()
    escaped = escape_text(text)
    assert (escaped is None) == (not refused)
    changed = escaped or text
    assert changed.count(b"\\u001a") == 2 * refused.count("\\u")
    assert changed.replace(b"\\u001a", b"\\u") == text
    assert unescape(json.loads(changed)) == json.loads(text)


def test_escapes_are_written_without_a_call_for_each() -> None:
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    text = b'{"v":"' + rb"\u0000\u00e9\ud800\n\\\u001a" * 1000 + b'"}'
    sys.setprofile(count)
    try:
        escape_text(text)
        escape("\0\ud800\x1a" * 1000)
    finally:
        sys.setprofile(None)
    assert calls < 50


@pytest.mark.parametrize("size", range(1, 20))
@pytest.mark.parametrize(
    "value",
    ["\U0001f600" * 9, "\ud83d\udbff\U0001f600\udc00" * 3, "\0\x1a" * 9, "a\\\ud800\\u" * 4, "\udc00\ud800" * 5],
)
def test_a_long_text_is_escaped_slice_by_slice_alike(value: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = JsonObject.of({"v": value, "w": "\0"}).text
    whole = escape_text(text)
    monkeypatch.setattr(json_object, "_SLICE_BYTES", size)
    assert escape_text(text) == whole
    assert whole is not None
    assert unescape(json.loads(whole)) == json.loads(text)
