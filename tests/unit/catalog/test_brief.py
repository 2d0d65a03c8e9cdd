"""The short form of a tool."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from nexus_hub.catalog.brief import LONGEST_LINE, Brief, count_bytes, cut_to_line, estimate_tokens, shorten
from nexus_hub.catalog.entries import ToolEntry


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n\n  Get the time.  \nMore.", "Get the time."),
        ("Get the time. It is exact.", "Get the time."),
        ("Version 1.2 of it", "Version 1.2 of it"),
        ("a  b\tc", "a b c"),
        ("word " * 40, "word " * 22 + "word…"),
        ("x" * 200, "x" * (LONGEST_LINE - 1) + "…"),
    ],
)
def test_one_line_is_the_first_sentence_of_the_first_line(text: str, line: str) -> None:
    assert cut_to_line(text) == line
    assert len(line) <= LONGEST_LINE


def test_a_tool_without_a_description_shows_its_title() -> None:
    server_ref_id = UUID(int=1)
    tool = ToolEntry(server_ref_id, "a__b", "B", None, "system", server_ref_id, "b", {}, datetime.now(UTC), stale=False)
    assert shorten(tool) == Brief("a__b", "B")


def test_tokens_are_a_quarter_of_the_bytes_and_savings_are_never_negative() -> None:
    assert estimate_tokens(401, 9) == {"all": 101, "shown": 3, "saved": 98}
    assert estimate_tokens(0, 5)["saved"] == 0
    assert count_bytes({"a": "é\ud800"}) == len('{"a": "é"}'.encode()) + 3
