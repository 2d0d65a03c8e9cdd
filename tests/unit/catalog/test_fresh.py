"""The time for which what was read of a server counts as fresh."""

from typing import Any

import pytest

from nexus_hub.catalog.store import RETRY_SECONDS, SHORTEST_FRESH_SECONDS, choose_fresh_seconds
from nexus_hub.json_text import read
from nexus_hub.upstream.snapshot import Snapshot, _read_ttl

DAY = 86_400.0


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("90000", 90.0),
        ("1", 0.001),
        ("1500.5", 1.5005),
        ("9e4", 90.0),
        ("0", None),
        ("-1", None),
        ("-0", None),
        ("1e400", None),
        ("9" * 5000, None),
        ("true", None),
        ('"90000"', None),
        ("null", None),
        ("[90000]", None),
    ],
)
def test_a_time_to_live_is_read_whatever_a_server_sends(sent: str, seconds: float | None) -> None:
    assert _read_ttl(read(sent)) == seconds


@pytest.mark.parametrize(
    ("said", "setting", "unread", "seconds"),
    [
        (None, DAY, False, DAY),
        (3600.0, DAY, False, 3600.0),
        (1.0, DAY, False, SHORTEST_FRESH_SECONDS),
        (10 * DAY, DAY, False, DAY),
        (3600.0, 30.0, False, 30.0),
        (1.0, 30.0, False, 30.0),
        (None, DAY, True, RETRY_SECONDS),
        (3600.0, DAY, True, RETRY_SECONDS),
        (120.0, DAY, True, 120.0),
    ],
)
def test_what_a_server_says_counts_within_the_hubs_bounds(
    said: float | None, setting: float, unread: bool, seconds: float
) -> None:
    members: Any = {"unread": frozenset({"tools"} if unread else ())}
    assert choose_fresh_seconds(Snapshot("", None, None, {}, ttl_seconds=said, **members), setting) == seconds
