"""`server set`: what it asks the API to change."""

from typing import Any

import pytest

from nexus_hub.cli.servers import to_change, to_limits
from nexus_hub.errors import InvalidRequest


@pytest.mark.parametrize(
    ("durable", "tool", "handle_seconds", "body"),
    [
        ("always", None, None, {"durable": "always"}),
        ("default", None, None, {"durable": None}),
        ("never", "t", None, {"tools": {"t": "never"}}),
        ("default", "t", None, {"tools": {"t": None}}),
        (None, None, "20", {"handle_seconds": 20.0}),
        (None, None, "default", {"handle_seconds": None}),
        ("long", "t", "0", {"tools": {"t": "long"}, "handle_seconds": 0.0}),
    ],
)
def test_only_what_is_said_is_changed(
    durable: str | None, tool: str | None, handle_seconds: str | None, body: dict[str, Any]
) -> None:
    assert to_change(durable, tool, handle_seconds) == body


@pytest.mark.parametrize(
    ("durable", "tool", "handle_seconds"),
    [(None, None, None), (None, "t", None), (None, "t", "20"), (None, None, "soon"), (None, None, "nan")],
)
def test_what_says_nothing_is_refused(durable: str | None, tool: str | None, handle_seconds: str | None) -> None:
    with pytest.raises(InvalidRequest):
        to_change(durable, tool, handle_seconds)


@pytest.mark.parametrize(
    ("of_all", "of_each", "body"),
    [
        (None, None, {}),
        ("60", None, {"limit_per_minute": 60}),
        ("none", "5", {"limit_per_minute": None, "user_limit_per_minute": 5}),
    ],
)
def test_limits_are_set_and_taken_away(of_all: str | None, of_each: str | None, body: dict[str, Any]) -> None:
    assert to_limits(of_all, of_each) == body


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many"])
def test_a_limit_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="--user-limit-per-minute takes a number"):
        to_limits(None, text)
