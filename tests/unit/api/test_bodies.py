"""Bodies: their values are counted as they arrive, whatever the pieces, and their faults are bounded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nexus_hub.api.bodies import Body, ValueCount
from nexus_hub.api.internal import CleanupBody, RotationBody
from nexus_hub.api.jobs import NewJob, NewJobs
from nexus_hub.api.servers import NewServer
from nexus_hub.api.users import NewUser
from nexus_hub.errors import InvalidRequest, TooLarge

ANY_LIMIT = 10**9
TEXTS = st.text(st.sampled_from('[]{},:"\\/ \néa0')) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def counted(pieces: Iterator[bytes]) -> int:
    count = ValueCount(ANY_LIMIT, "SETTING")
    add_all(count, pieces)
    return count._count


def add_all(count: ValueCount, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        count.add(piece)


def cut(text: bytes, size: int) -> Iterator[bytes]:
    return (text[begin : begin + size] for begin in range(0, len(text), size))


def brackets_and_commas(value: Any) -> int:
    match value:
        case dict() | list():
            inner = value.values() if isinstance(value, dict) else value
            return 1 + max(len(value) - 1, 0) + sum(map(brackets_and_commas, inner))
        case _:
            return 0


@given(JSON, st.integers(1, 9), st.booleans(), st.sampled_from([None, 1]))
def test_what_is_counted_stands_outside_of_texts_however_the_body_is_cut(
    value: Any, size: int, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert counted(cut(text, size)) == counted(iter([text])) == brackets_and_commas(value)


@given(st.binary(max_size=60).filter(lambda raw: b"\0" not in raw), st.integers(1, 9))
def test_what_is_no_json_is_counted_without_an_error(raw: bytes, size: int) -> None:
    assert counted(cut(raw, size)) == counted(iter([raw]))


@pytest.mark.parametrize(
    "one", ["[]", "{}", "[[]]", "[1]", '{"a":1}', '{"a":{}}', "1", "null", '""', '"["', "1e5", "[{}]", '[[],{"b":[]}]']
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_many_values_are_refused_by_the_piece_that_goes_over_the_limit(one: str, size: int) -> None:
    text = b"[" + b",".join([one.encode()] * 1000) + b"]"
    count = ValueCount(999, "THE_SETTING")
    with pytest.raises(TooLarge, match=r"at most 999 values.*THE_SETTING") as refusal:
        add_all(count, cut(text, size))
    assert refusal.value.status == 413
    assert one not in refusal.value.message


def test_a_text_may_hold_any_number_of_brackets_and_commas() -> None:
    text = json.dumps({"a": '[[{"a": [1, 2]}, ' * 10_000, "b\\": "\\" * 999, "c": ',"'}).encode()
    add_all(ValueCount(10, "SETTING"), cut(text, 1000))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_another_encoding_in_which_bytes_mean_something_else_is_refused(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        ValueCount(ANY_LIMIT, "SETTING").add('["\u5b22\u225b", 1]'.encode(encoding))


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (NewJob, {"name": "a", **{f"m{n}": n for n in range(5000)}}),
        (NewJob, {"name": {f"m{n}": n for n in range(5000)}}),
        (NewJobs, [{"name": "a", **{f"m{n}": n for n in range(50)}}] * 900),
        (NewServer, {"name": "a", "args": [1] * 5000}),
        (NewServer, {"name": "a", "env": {f"E{n}": n for n in range(5000)}}),
        (NewServer, {"name": "a", "headers": {f"h{n}": n for n in range(5000)}}),
        (NewUser, {f"m{n}": n for n in range(5000)}),
        (CleanupBody, {f"m{n}": n for n in range(5000)}),
    ],
)
def test_a_body_full_of_faults_is_refused_by_their_number(model: type[Body], given: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(given)
    assert refusal.value.error_count() <= 2
    assert "faults" in refusal.value.errors()[-1]["msg"]


def test_the_faults_of_other_bodies_are_told_one_by_one() -> None:
    with pytest.raises(ValidationError) as refusal:
        NewServer.model_validate({"name": 1, "args": [1, 2]})
    assert refusal.value.error_count() == 3


def test_unknown_members_that_a_route_passes_over_are_no_faults() -> None:
    assert RotationBody.model_validate({"action": "rotate"}).old_key_id is None
