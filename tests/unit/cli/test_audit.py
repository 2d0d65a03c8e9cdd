"""`nexus-hub audit`: times, pages, lines, and following."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from nexus_hub.cli import audit
from nexus_hub.cli.output import Output
from nexus_hub.client import HubClient
from nexus_hub.errors import InvalidRequest


def entry(number: int, at: datetime | None = None) -> dict[str, Any]:
    return {
        "id": str(number),
        "at": (at or datetime.now(UTC)).isoformat(),
        "actor": "ann",
        "action": "tool.call",
        "target": f"t{number}\u202e",
        "server": None,
        "tool": None,
        "job_id": None,
        "outcome": "ok",
        "code": None,
        "times": 1,
        "client": None,
        "address": None,
    }


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ({"server": "bank", "tool": None, "target": "enabled false"}, "bank: enabled false"),
        ({"server": "bank", "tool": "transfer", "target": "approval 1"}, "bank__transfer: approval 1"),
        ({"server": "bank", "tool": "transfer", "target": "bank__transfer"}, "bank__transfer"),
        ({"server": "bank", "tool": None, "target": None}, "bank"),
    ],
)
def test_a_line_says_what_was_done_and_to_what(
    about: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.show_entries(Output(as_json=False), [entry(1) | about])
    assert capsys.readouterr().out.split("\t")[3] == shown


class Pages:
    """A hub that has these entries, the newest first, and gives two at a time."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.asked: list[dict[str, Any]] = []

    async def request(self, method: str, path: str, body: object, /, **query: Any) -> dict[str, Any]:
        assert (method, path, body) == ("GET", "/v1/audit", None)
        self.asked.append(query)
        begin = int(query["cursor"] or 0)
        end = min(begin + min(query["limit"], 2), len(self.entries))
        return {"items": self.entries[begin:end], "next_cursor": str(end) if end < len(self.entries) else None}

    @property
    def client(self) -> HubClient:
        return cast("HubClient", self)


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("5m", 300), ("5min", 300), ("1h", 3600), (" 7d ", 604_800), ("2w", 1_209_600)]
)
def test_a_time_is_how_long_ago(text: str, ago: int) -> None:
    found = (datetime.now(UTC) - audit.parse_time(text)).total_seconds()
    assert found == pytest.approx(ago, abs=5)


def test_a_time_is_a_moment_with_its_zone() -> None:
    assert audit.parse_time("2026-01-31T09:30:00Z") == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert audit.parse_time("2026-01-31T10:30:00+01:00") == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    for text in ("", "yesterday", "1y", "-1h", "2026-01-31T09:30:00", "1h30m"):
        with pytest.raises(InvalidRequest):
            audit.parse_time(text)


async def test_entries_come_in_the_order_of_their_times_and_no_more_than_are_asked_for() -> None:
    hub = Pages(*(entry(number) for number in range(5, 0, -1)))
    assert [one["id"] for one in await audit.read_entries(hub.client, 4)] == ["2", "3", "4", "5"]
    assert [one["id"] for one in await audit.read_entries(hub.client, 100)] == ["1", "2", "3", "4", "5"]


def test_programs_get_a_line_of_json_for_each_and_people_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    audit.show_entries(Output(as_json=True), [entry(1), entry(2)])
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    audit.show_entries(Output(as_json=False), [entry(1)])
    shown = capsys.readouterr().out
    assert "t1\\u202e" in shown
    assert "\u202e" not in shown


async def test_following_shows_each_entry_once_also_one_that_is_written_late(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    hub = Pages(entry(1, now))
    rounds = [[entry(2, now), entry(1, now)], [entry(2, now), entry(3, now - timedelta(seconds=60)), entry(1, now)]]

    async def next_round(seconds: float) -> None:
        if not rounds:
            raise asyncio.CancelledError
        hub.entries = rounds.pop(0)

    monkeypatch.setattr(asyncio, "sleep", next_round)
    with pytest.raises(asyncio.CancelledError):
        await audit._follow(hub.client, Output(as_json=True), [entry(1, now)], now - timedelta(days=1), {})
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["2", "3"]
    assert datetime.fromisoformat(hub.asked[-1]["since"]) < now - timedelta(seconds=100)
