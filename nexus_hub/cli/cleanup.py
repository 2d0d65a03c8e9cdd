"""`cleanup`: delete old jobs now, or say how many would go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.calls import show_outcome
from nexus_hub.cli.context import SUCCESS, Json, run
from nexus_hub.models import DAYS_COMPLETED, DAYS_ORPHANED, MOST_DAYS

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

_PATH = "/internal/cleanup-jobs"
_COUNTS = ("deleted_completed", "deleted_orphaned", "total_deleted")


def cleanup(
    days_completed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_DAYS, help="Delete what ended more than so many days ago.", show_default=str(DAYS_COMPLETED)
        ),
    ] = None,
    days_orphaned: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MOST_DAYS,
            help="Fail what gave no sign of life for so many days; delete what failed so long ago.",
            show_default=str(DAYS_ORPHANED),
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Fail orphaned jobs and delete old ones."""
    asked = {"days_completed": days_completed, "days_orphaned": days_orphaned, "dry_run": dry_run or None}
    body = {name: value for name, value in asked.items() if value is not None}

    async def command(client: HubClient, output: Output) -> int:
        answer = await client.request("POST", _PATH, body)
        if "job_id" in answer:
            return await _follow(client, output, answer["job_id"])
        return _show_counts(output, answer, "Would be deleted" if dry_run else "Deleted")

    run(as_json, command)


async def _follow(client: HubClient, output: Output, job_id: str) -> int:
    """Follow a clean-up that goes on as a job; its result has the same counts."""
    async for job in client.watch(job_id):
        output.state(job)
    if job["status"] == "completed" and "total_deleted" in (job["result"] or {}):
        return _show_counts(output, job["result"], "Deleted")
    return show_outcome(output, job, waited=True)


def _show_counts(output: Output, counts: dict[str, Any], what: str) -> int:
    ended, orphaned, total = (counts[name] for name in _COUNTS)
    if output.as_json:
        output.data(dict(zip(_COUNTS, (ended, orphaned, total), strict=True)))
    else:
        output.line(f"{what}: {total} jobs ({ended} ended, {orphaned} orphaned).")
    return SUCCESS
