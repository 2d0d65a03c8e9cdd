"""Cursors: given back they go on, made up they are refused."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidRequest
from nexus_hub.paging import check_limit, decode, encode, page


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), st.uuids())
def test_a_cursor_comes_back_as_the_key_it_was_made_of(name: str, row: UUID) -> None:
    assert decode(encode(name, row), (str, UUID)) == (name, row)


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_moment_comes_back_to_the_microsecond(moment: datetime, row: UUID) -> None:
    assert decode(encode(moment.isoformat(), row), (datetime.fromisoformat, UUID)) == (moment, row)


def test_no_cursor_is_the_start() -> None:
    assert decode(None, (str, UUID)) == (None, None)


@given(st.text())
def test_made_up_text_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        decode(cursor, (str, UUID))


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, [], {}, "ab", ["a"], ["a", "b", "c"], {"a": 1, "b": 2}, ["name", "no uuid"]),
        *(["\x00", str(uuid4())], ["\ud800", str(uuid4())]),
    ],
)
def test_forged_cursors_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        decode(forged(value), (str, UUID))


@pytest.mark.parametrize("text", ["[" * 20_000, "[" * 20_000 + "]" * 20_000])
def test_a_cursor_that_is_nested_without_end_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode(base64.urlsafe_b64encode(text.encode()).decode(), (str, UUID))


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30])
def test_a_limit_outside_its_range_is_refused(limit: int) -> None:
    with pytest.raises(InvalidRequest, match="within 1 and 1000"):
        check_limit(limit)


@given(st.integers(1, 20), st.integers(0, 21))
def test_only_a_page_with_more_behind_it_has_a_cursor(limit: int, found: int) -> None:
    rows = [{"id": number} for number in range(min(found, limit + 1))]
    given_page = page(rows, limit, lambda row: str(row["id"]))
    assert given_page.items == rows[:limit]
    assert given_page.next_cursor == (str(limit - 1) if found > limit else None)
