"""JSON objects as texts, and what jsonb is given in their place."""

import json
from typing import Any

import pytest

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
