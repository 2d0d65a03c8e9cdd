"""The words of `nexus-hub user token` and `tokens`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nexus_hub.cli.users import describe, parse_end
from nexus_hub.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (None, {}),
        ("12h", {"expires_in_days": 0.5}),
        ("30d", {"expires_in_days": 30}),
        (" 2w ", {"expires_in_days": 14}),
        ("2027-01-31T09:30:00Z", {"expires_at": "2027-01-31T09:30:00+00:00"}),
    ],
)
def test_an_end_is_a_span_or_a_time(text: str | None, sent: dict[str, Any]) -> None:
    assert parse_end(text) == sent


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "2027-01-31", "2027-01-31T09:30:00", "1.5d", "٣d"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no time"):
        parse_end(text)


def test_a_token_is_described_by_what_became_of_it() -> None:
    now = datetime.now(UTC)
    token = {"scopes": None, "revoked_at": None, "expires_at": None, "last_used_at": None}
    assert describe(token) == {**token, "scopes": "all", "ends": None, "last_used": None}
    ends = {"expires_at": (now - timedelta(days=1)).isoformat(), "scopes": ["jobs", "tools:list"]}
    assert (describe(token | ends)["ends"], describe(token | ends)["scopes"]) == ("expired", "jobs tools:list")
    assert describe(token | {"expires_at": "2999-01-31T09:30:00Z"})["ends"] == "2999-01-31"
    assert describe(token | {"last_used_at": "2026-11-30T08:39:17Z"})["last_used"] == "2026-11-30"
    assert describe(token | ends | {"revoked_at": now.isoformat()})["ends"] == "revoked"
