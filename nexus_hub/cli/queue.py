"""`status --jobs`: how many jobs wait and run, user by user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexus_hub.cli.context import run

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

_COLUMNS = {name: name for name in ("user", "waiting", "oldest", "later", "running")}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def show_queue(*, as_json: bool) -> None:
    """Show the queue of the hub that the environment names, and exit with 0 if it answers."""

    async def command(client: HubClient, output: Output) -> None:
        queue = await client.request("GET", "/v1/queue")
        if as_json:
            output.data(queue)
            return
        output.table([_row(user) for user in queue["users"]], _COLUMNS, "No job waits or runs.")
        if queue["users"]:
            output.line(_sum_up(queue), style="dim")

    run(as_json, command)


def _row(user: dict[str, Any]) -> dict[str, Any]:
    oldest = user["oldest_seconds"]
    return user | {
        "user": "operator" if user["user_id"] is None else user["name"] or user["user_id"],
        "waiting": _count(user["waiting"], more=user["more"]),
        "oldest": None if oldest is None else _duration(oldest),
    }


def _sum_up(queue: dict[str, Any]) -> str:
    more = queue["more"] or any(user["more"] for user in queue["users"])
    waiting = _count(queue["waiting"], more=more)
    runs = ", ".join(queue["runs"]) or "none"
    return f"in all: {waiting} waiting, {queue['later']} later, {queue['running']} running; shared runs: {runs}"


def _count(number: int, *, more: bool) -> str:
    return f"{number}+" if more else str(number)


def _duration(seconds: float) -> str:
    """Write a time in the unit that leaves a number of two digits or so."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
