"""What jsonb refuses is made storable and comes back."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexus_hub.escape import escape, unescape

CHARACTERS = st.text(st.sampled_from("\x00\x1a\ud800\udfff\U0001f600" + "0af1\\u")) | st.text(
    st.characters(codec=None, exclude_categories=())
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | CHARACTERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(CHARACTERS, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@example("\x1af")
@example("\x1afnan")
@example("\x1a0000")
@example({"\x1a": "\x00", "\x1a0000": 1})
@example([math.inf, -math.inf])
def test_what_was_escaped_is_restored_exactly(value: Any) -> None:
    assert unescape(escape(value)) == value


@given(JSON)
def test_what_is_escaped_holds_nothing_that_jsonb_refuses(value: Any) -> None:
    text = json.dumps(escape(value), allow_nan=False, ensure_ascii=False)
    assert "\x00" not in json.loads(text) if isinstance(value, str) else True
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode("utf-8")


def test_not_a_number_comes_back_as_not_a_number() -> None:
    assert math.isnan(unescape(escape(math.nan)))


@given(st.text(st.characters(exclude_characters="\x00\x1a", exclude_categories=["Cs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize("foreign", ["\x1afoo", "\x1af", "\x1afé", {"a": ["\x1af1e5x"]}])
def test_what_was_never_escaped_is_left_as_it_is(foreign: Any) -> None:
    assert unescape(foreign) == foreign
