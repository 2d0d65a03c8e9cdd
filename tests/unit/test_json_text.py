"""Numbers read and written in the form in which they were sent."""

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest

from nexus_hub.escape import escape, unescape
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import MOST_FLOATS, MOST_ODD, Number, read, write

FORMS = [
    *("0", "-0", "0.0", "-0.0", "1", "1.0", "1.10", "1e5", "1E5", "1E+5", "1e-7", "0.1", "0.1000000000000000055"),
    *("1e400", "-1e400", "1e-400", "12345678901234567890123", "9" * 5000, "0." + "1" * 5000, "1e1000000"),
    *("1e99999999999999999999", "-1.5e-99999999999999999999", "0e99999999999999999999", "2.2250738585072011e-308"),
]


def name_of(form: Any) -> str:
    return str(form)[:30]


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_a_number_is_written_as_it_was_read(form: str) -> None:
    text = f'{{"z":[{form},{{"{form}":{form}}}],"a":"{form}"}}'
    for copied in (read(text), copy.deepcopy(read(text)), pickle.loads(pickle.dumps(read(text)))):
        assert write(copied).decode() == text
    assert write(unescape(escape(read(text)))).decode() == text


def test_only_an_odd_number_is_no_plain_one() -> None:
    plain = read("[0,1,-1,1.0,-0.0,0.5,1e+22,123456789012345678901234567890]")
    assert [type(number) for number in plain] == [int, int, int, float, float, float, float, int]
    assert [type(number) for number in read("[-0,1e5,1e400,0.10]")] == [Number] * 4
    assert read("[1e400,0.10]") == [Decimal("1e400"), Decimal("0.1")]


def test_what_jsonb_would_write_out_or_refuse_is_escaped_and_the_rest_is_not() -> None:
    assert escape(read("[1e5,1e999,1e1001,1e-400000]")) == [
        Number("1e5"),
        Number("1e999"),
        "\x1an1e1001",
        "\x1an1e-400000",
    ]
    assert unescape(["\x1an1e1001", "\x1an", "\x1anone", "n1e5"]) == [Number("1e1001"), "\x1an", "\x1anone", "n1e5"]


def test_a_text_is_put_in_as_it_is() -> None:
    text = b'{ "b":1.10,\n"a":1E400 }'
    assert write({"x": [JsonObject(text), Number("1e5")], "y": "z"}) == b'{"x":[' + text + b',1e5],"y":"z"}'
    assert write({}, ensure_ascii=False) == b"{}"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [Number("1e5"), float("-inf")]}])
def test_what_is_no_number_of_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write(value)


def test_what_is_no_json_at_all_goes_to_who_asked_for_it() -> None:
    assert write([{1}, Number("-0")], default=sorted) == b"[[1],-0]"
    with pytest.raises(TypeError):
        write([{1}])
    with pytest.raises(json.JSONDecodeError):
        read("[01]")


@pytest.mark.parametrize("odd", ["1e5", "-0", "1e400", "0.10"])
def test_of_very_many_numbers_the_first_ones_keep_their_form(odd: str) -> None:
    found = read("[" + ",".join([odd] * (MOST_ODD + 10)) + ",1,2.5]")
    assert [type(number) for number in found[: MOST_ODD + 1]] == [Number] * MOST_ODD + [float]
    assert found[-2:] == [1, 2.5]
    found = read("[" + ",".join([*["0.5"] * (MOST_FLOATS - 1), odd, odd, odd]) + "]")
    assert type(found[MOST_FLOATS - 1]) is Number
