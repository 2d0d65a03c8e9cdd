"""`audit`: what was done with the hub, by whom, and what came of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import Json, run
from nexus_hub.errors import InvalidRequest
from nexus_hub.paging import LARGEST

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

POLL_SECONDS = 2.0
LATE_SECONDS = 120
"""An entry that is written so long after its time is still found by whoever follows."""
_AGO = re.compile(r"([0-9]{1,6})(s|min|m|h|d|w)")
_UNITS = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLUMNS = {
    "at": "at",
    "actor": "actor",
    "action": "action",
    "what": "what",
    "outcome": "outcome",
    "times": "times",
    "client": "client",
    "address": "address",
}


def audit(
    since: Annotated[str, typer.Option(help="How long ago, such as 1h or 7d, or a time with its zone.")] = "1d",
    until: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    user: Annotated[str | None, typer.Option(help="A name or an id, operator or nobody.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as tool.call, or tool. for all of these.")] = None,
    server: Annotated[str | None, typer.Option(help="A server's name or id.")] = None,
    search: Annotated[str | None, typer.Option(help="A text in names, ids, clients or addresses.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = LARGEST,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the audit, the oldest entry first; with --json a line of JSON for each."""
    filters = {"user": user, "action": action, "server": server, "search": search}
    began, ends = parse_time(since), None if until is None else parse_time(until).isoformat()

    async def command(client: HubClient, output: Output) -> None:
        entries = await read_entries(client, limit, since=began.isoformat(), until=ends, **filters)
        show_entries(output, entries, empty="" if follow else "There is no such entry.")
        if follow:
            await _follow(client, output, entries, began, filters)

    run(as_json, command)


async def read_entries(client: HubClient, limit: int, **query: object) -> list[dict[str, Any]]:
    """Read the newest so many entries, and give them in the order of their times."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        wanted = min(limit - len(found), LARGEST)
        page = await client.request("GET", "/v1/audit", None, limit=wanted, cursor=cursor, **query)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found[::-1]


def show_entries(output: Output, entries: list[dict[str, Any]], *, empty: str = "") -> None:
    """Show entries, for programs a line of JSON each."""
    if output.as_json:
        for entry in entries:
            output.json_line(entry)
    elif entries or empty:
        output.table([_row(entry) for entry in entries], _COLUMNS, empty)


async def _follow(
    client: HubClient, output: Output, shown: list[dict[str, Any]], began: datetime, filters: dict[str, str | None]
) -> None:
    """Show what comes; entries are written a moment after their time, so that the last minutes are read again.

    Those are the minutes before the newest entry: this machine's clock may be another one than the hub's.
    """
    import asyncio
    from datetime import datetime, timedelta

    known = {entry["id"]: entry["at"] for entry in shown}
    while True:
        await asyncio.sleep(POLL_SECONDS)
        newest = max((datetime.fromisoformat(at) for at in known.values()), default=began)
        since = max(began, newest - timedelta(seconds=LATE_SECONDS))
        entries = await read_entries(client, 100 * LARGEST, since=since.isoformat(), **filters)
        show_entries(output, [entry for entry in entries if entry["id"] not in known])
        known = {entry["id"]: entry["at"] for entry in entries}


def parse_time(text: str) -> datetime:
    """Read how long ago something was, or when.

    Raises:
        InvalidRequest: it is neither.
    """
    from datetime import UTC, datetime

    if found := _AGO.fullmatch(text.strip()):
        return datetime.now(UTC) - _ago(int(found[1]), _UNITS[found[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(f"{text!r} is no time: write how long ago, such as 1h or 7d, or 2026-01-31T09:30:00Z.")
    return at


def _ago(number: int, unit: str) -> timedelta:
    from datetime import timedelta

    return timedelta(**{unit: min(number, 36_500)})


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """Give an entry's cells: what it was about, and its code where it failed."""
    tool = f"{entry['server']}__{entry['tool']}" if entry["tool"] and entry["server"] else entry["tool"]
    about, target = tool or entry["server"], entry["target"]
    what = target or about or entry["job_id"]
    if target and about and about not in target:
        what = f"{about}: {target}"
    return entry | {"what": what, "outcome": entry["code"] or entry["outcome"]}
