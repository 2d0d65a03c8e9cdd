"""Parts of a running hub, each with its state in plain words and what to do about it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from nexus_hub import __version__
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, PrefectUnavailable, TookTooLong
from nexus_hub.execution.shared_runs import WORKER_LISTENS
from nexus_hub.orchestration import health
from nexus_hub.orchestration.health_figures import HEALTH
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.orchestration.scheduler_watch import judge_scheduler

PATIENCE_SECONDS = 3.0
"""For each answer of Prefect's."""
SEEN_SECONDS = 90
"""Workers tell Prefect every 30 s that they live."""
PartName = Literal["database", "prefect", "worker", "scheduler", "api"]


@dataclass(frozen=True, slots=True)
class PartHealth:
    """State of a part; `what_to_do` is None where nothing has to be done."""

    name: PartName
    state: Literal["ok", "warn", "down"]
    detail: str
    what_to_do: str | None = None


async def look_at_parts(
    database: Database, prefect: PrefectClient, failing_loops: Callable[[], list[str]]
) -> list[PartHealth]:
    """Look at all parts at the same time; none of them can make this fail, or last much longer than 3 s."""
    found = await asyncio.gather(
        _look_at_database(database), _look_at_prefect(prefect), _look_at_worker(database, prefect), _schedule(prefect)
    )
    return [*found, _look_at_api(failing_loops())]


async def _look_at_database(database: Database) -> PartHealth:
    try:
        await database.ping()
    except DatabaseUnavailable:
        advice = "See that PostgreSQL runs (nexus-hub status), and NEXUS_DATABASE_URL if it is set."
        return PartHealth("database", "down", "PostgreSQL does not answer.", advice)
    if database.is_full:
        advice = "Make room on PostgreSQL's disk; what waits goes on by itself then."
        return PartHealth("database", "down", "PostgreSQL's disk is full: nothing can be stored.", advice)
    return PartHealth("database", "ok", "PostgreSQL answers.")


async def _look_at_prefect(prefect: PrefectClient) -> PartHealth:
    try:
        return PartHealth("prefect", "ok", f"Prefect {await _ask(health.read_version(prefect))} answers.")
    except PrefectUnavailable as error:
        advice = "See that Prefect runs, and PREFECT_API_URL and PREFECT_API_AUTH_STRING if they are set."
        return PartHealth("prefect", "down", error.message, advice)


async def _look_at_worker(database: Database, prefect: PrefectClient) -> PartHealth:
    """A worker that holds its connection lives, also while Prefect is away; Prefect may not have heard of it lately."""
    advice = "Start one: nexus-hub worker, or nexus-hub up for everything. Jobs wait until then."
    try:
        async with database.transaction(bounded=True) as transaction:
            connected = await transaction.only(HEALTH["count_workers"], int, worker=WORKER_LISTENS)
    except (DatabaseUnavailable, TookTooLong):
        connected = 0
    try:
        seen = await _ask(health.read_workers(prefect))
    except PrefectUnavailable:
        if connected:
            return PartHealth("worker", "ok", f"{_count(connected)} connected.")
        return PartHealth("worker", "warn", "No worker is connected, and Prefect can't be asked.", advice)
    lately = sum(age <= SEEN_SECONDS for age in seen.values())
    if lately or connected:
        state: Literal["ok", "warn"] = "ok" if lately and connected else "warn"
        detail = f"{_count(connected)} connected, {lately} heard of by Prefect within {SEEN_SECONDS} s."
        return PartHealth("worker", state, detail, None if state == "ok" else "Wait a minute, then see its log.")
    detail = f"Prefect has heard of no worker for {min(seen.values()):.0f} s." if seen else "Prefect knows no worker."
    return PartHealth("worker", "down", detail, advice)


async def _schedule(prefect: PrefectClient) -> PartHealth:
    """Prefect's own probes see no dead scheduler; how far ahead it has made runs tells."""
    try:
        schedule = await _ask(health.read_schedule(prefect))
    except PrefectUnavailable:
        return PartHealth("scheduler", "warn", "Prefect can't be asked.", "See the part prefect first.")
    ahead = f"Its runs reach {schedule.horizon_seconds / 60:.0f} minutes ahead."
    state = judge_scheduler(schedule)
    if state == "ok":
        return PartHealth("scheduler", state, ahead)
    advice = (
        "Prefect's scheduler makes no more of them: restart Prefect's server, or its services, and see the log. Until "
        "then catalogs are not refreshed and old jobs not cleaned up. If the schedule of refresh-catalog was paused in "
        "Prefect, let it go on."
    )
    return PartHealth("scheduler", state, ahead, advice)


def _look_at_api(failing: list[str]) -> PartHealth:
    if not failing:
        return PartHealth("api", "ok", f"nexus-hub {__version__} answers.")
    names = ", ".join(failing)
    return PartHealth(
        "api", "warn", f"Loops that failed within two minutes: {names}.", "They go on by themselves; see the API's log."
    )


def _count(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


async def _ask(question: Coroutine[Any, Any, Any]) -> Any:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await question
    except TimeoutError:
        raise PrefectUnavailable(f"Prefect gives no answer within {PATIENCE_SECONDS:.0f} s.") from None
