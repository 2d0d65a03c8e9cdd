"""What do 1,000,000 and 100,000,000 jobs a day take, by what was measured of one?

Computed, not measured: costs of one job, one call, one row and one run are read from the other results, so that a new
measurement changes the numbers. It also puts the tables into `docs/scale.md`.
"""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from benchmarks.report import RESULTS, publish, table
from deployments.registry import DEPLOYED
from nexus_hub.api.app import TOKEN_CONNECTIONS
from nexus_hub.db.pool import Database
from nexus_hub.execution.shared_runs import OPEN_SECONDS
from nexus_hub.servers.login_refresh import MOST_EXCHANGES
from nexus_hub.stack.prefect_server import POOL_SIZE

PAGE = RESULTS.parents[1] / "docs" / "scale.md"
DAYS_KEPT, PEAK, BUSY = 7, 3, 0.6
"""The documented retention; the busiest hour's rate over the day's; how much of a core is planned for."""
PER_DAY = (1_000_000, 100_000_000)
PARTS = ("API", "worker", "Prefect's API", "PostgreSQL")
DEFAULT_CONNECTIONS = 100
"""PostgreSQL's `max_connections`, unless it is set."""
POOL = int(inspect.signature(Database.__init__).parameters["max_size"].default)
API_CONNECTIONS, WORKER_CONNECTIONS = POOL + TOKEN_CONNECTIONS + MOST_EXCHANGES + 1, POOL + MOST_EXCHANGES + 1
"""The pool, those of tokens and of logins at servers, and the one that listens."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to send work, and the milliseconds of a processor that one takes in each part."""

    name: str
    milliseconds: tuple[float, float, float, float]
    source: str


def cell(result: str, row: str, column: str) -> float:
    """Read a number of a table of `results/`: of the first row with that beginning under a head with that column.

    Raises:
        LookupError: no table has it.
    """
    head: list[str] = []
    for line in (RESULTS / f"{result}.md").read_text().splitlines():
        cells = [one.strip() for one in line.strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            head = []
        elif not head:
            head = cells
        elif column in head and cells[0] == row:
            return float(re.sub(r"[^0-9.].*", "", cells[head.index(column)].replace(",", "")))
    raise LookupError(f"results/{result}.md has no {row} under {column}")


def ways() -> list[Way]:
    """List the ways, the dearest first."""

    def of(result: str, row: str, columns: Sequence[str]) -> tuple[float, float, float, float]:
        api, worker, prefect, postgres = (cell(result, row, column) if column else 0.0 for column in columns)
        return api, worker, prefect, postgres

    batch = ("api", "worker", "prefect", "postgres")
    clients = [f"CPU per job: {part}" for part in batch]
    return [
        Way("a job with a run of its own", of("clients", "hub: 1 client", clients), "clients.md"),
        Way("single jobs that share runs", of("clients", "hub: 32 clients", clients), "clients.md"),
        Way("a call of `/mcp`, direct", of("gateway", "hub", ("gateway", "worker", "", "postgres")), "gateway.md"),
        Way("jobs in batches of 1,000", of("batch", "batch of 1,000", batch), "batch.md"),
    ]


def costs() -> str:
    """Tabulate the costs of one."""
    rows = [
        [way.name, *(f"{one:g}" for one in way.milliseconds), f"{sum(way.milliseconds):.1f}", _rate(way), way.source]
        for way in ways()
    ]
    return table(["milliseconds of a core for", *PARTS, "in all", "first to give, at", "from"], rows)


def _rate(way: Way) -> str:
    """Name the part that is full first where each is one process, and the rate at which it is."""
    most = max(way.milliseconds[:3])
    return f"{PARTS[way.milliseconds.index(most)]}, {BUSY * 1000 / most:,.0f}/s"


def processes(per_day: int) -> str:
    """Tabulate how many processes, and cores of PostgreSQL, the busiest hour takes."""
    peak = per_day / 86_400 * PEAK
    rows = [
        [way.name, *(f"{math.ceil(peak * one / 1000 / BUSY - 1e-9):,}" if one else "-" for one in way.milliseconds)]
        for way in ways()
    ]
    return table([f"{per_day:,} a day, {peak:,.0f}/s in the busiest hour", *PARTS], rows)


def alone() -> str:
    """Tabulate how many of the jobs that come singly have a run of their own."""
    lasts = cell("job_latency", "hub", "p50") / 1000
    rows = []
    for rate in (0.01, 0.1, 1, 10, 100):
        until_two_meet = 1 / (rate * rate * lasts)
        share = until_two_meet / (until_two_meet + OPEN_SECONDS)
        # One for each job while none meet, then one for each time that a run is open.
        runs = 86_400 * (share * rate + (1 - share) / OPEN_SECONDS)
        rows.append([f"{rate:g}", f"{share:.1%}", f"{runs:,.0f}"])
    return table(["single jobs a second", "with a run of their own", "runs a day of one worker"], rows)


def scheduled() -> str:
    """Tabulate what the hub's own schedules leave in Prefect's database."""
    day = timedelta(days=1)
    runs = sum(day // one.every if one.every else 1 for one in DEPLOYED if one.active and (one.every or one.cron))
    costs = [
        cell("prefect_rows", "a scheduled run", column)
        for column in ("rows", "bytes", "rows of events", "bytes of events")
    ]
    rows = [
        [f"{runs:,}", f"{runs * (costs[0] + costs[2]):,.0f}", _bytes(runs * (costs[1] + costs[3])), "prefect_rows.md"]
    ]
    return table(["scheduled runs a day", "rows in Prefect's database", "bytes", "from"], rows)


def disk() -> str:
    """Tabulate bytes of a row, and what they come to."""
    rows = [
        ("a row of `job_results`", "bytes of a job in the table", True),
        ("its indexes", "in its indexes", True),
        ("WAL of a job", "bytes of WAL of a path", False),
    ]
    return _stored([(name, cell("partitions", row, "partitions"), kept) for name, row, kept in rows], "partitions.md")


def prefect() -> str:
    """Tabulate bytes of a run in Prefect's database, and what they come to."""
    kinds = [
        ("a run of one job", "a job alone", 1),
        ("a job's part of a run that 1,000 share", "1,000 jobs that share a run", 1000),
    ]
    costs = [
        (name, (cell("prefect_rows", row, "bytes") + cell("prefect_rows", row, "bytes of events")) / jobs, True)
        for name, row, jobs in kinds
    ]
    return _stored(costs, "prefect_rows.md")


def _stored(costs: Sequence[tuple[str, float, bool]], source: str) -> str:
    rows = [
        [
            name,
            f"{one:,.0f}",
            *(_bytes(one * per_day * (DAYS_KEPT if kept else 1)) for per_day in PER_DAY),
            f"{DAYS_KEPT} days" if kept else "a day",
            source,
        ]
        for name, one, kept in costs
    ]
    return table(["", "bytes of one", *(f"{per_day:,} a day" for per_day in PER_DAY), "for", "from"], rows)


def partitions() -> str:
    """Show how many times as long statements take with partitions, as it was measured."""
    shown = ("a job's path, in all", "read", "look: list", "round: leases that ran out", "round: not dispatched")
    rows = [[name, f"{cell('partitions', name, 'partitions / one table'):.1f}x"] for name in shown]
    return table(["", "partitions / one table"], rows)


def _bytes(number: float) -> str:
    power = min(4, max(1, int(math.log10(number) / 3)))
    return f"{number / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def connections() -> str:
    """Tabulate connections to PostgreSQL of fleets."""
    fleets = {
        "`nexus-hub up`": (1, 1, 1),
        "2 API, 3 workers, 2 + 2 of Prefect": (2, 3, 4),
        "8, 8, 2 + 2": (8, 8, 4),
        "32, 24, 2 + 2": (32, 24, 4),
    }
    rows = []
    for name, (apis, workers, prefects) in fleets.items():
        hub, prefect = apis * API_CONNECTIONS + workers * WORKER_CONNECTIONS, prefects * POOL_SIZE
        fits = "yes" if hub + prefect <= DEFAULT_CONNECTIONS - 3 else "no"
        rows.append([name, f"{hub:,}", f"{prefect:,}", f"{hub + prefect:,}", fits])
    head = [
        "fleet",
        "the hub's, at most",
        "Prefect's, at most",
        "in all",
        f"within the default of {DEFAULT_CONNECTIONS}",
    ]
    return table(head, rows)


def memory() -> str:
    """Tabulate the memory of processes and of what they hold."""
    api, worker = cell("sessions", "10,200", "MB of the API"), cell("job_latency", "2,000", "the worker's memory")
    streams = cell("watchers", "of it for a stream", "")
    return table(
        ["memory of", "", "from"],
        [
            ["an API process after 10,000 calls and 1,000 sessions", f"{api:,.0f} MB", "sessions.md"],
            ["a worker after 2,000 jobs", f"{worker:,.0f} MB", "job_latency.md"],
            ["an event stream of a watcher", f"{streams:,.0f} kB", "watchers.md"],
        ],
    )


def tables() -> dict[str, str]:
    """Make all tables, by the names of their places in the page; without its measurement, a table is left out."""
    makers: dict[str, Callable[[], str]] = {"costs": costs, "a-million": partial(processes, PER_DAY[0])}
    makers |= {"a-hundred-million": partial(processes, PER_DAY[1]), "alone": alone, "disk": disk, "prefect": prefect}
    makers |= {"scheduled": scheduled, "partitions": partitions, "connections": connections, "memory": memory}
    made = {}
    for name, make in makers.items():
        with suppress(FileNotFoundError):
            made[name] = make()
    return made


def main() -> None:
    """Compute, keep the tables, and put them into their places in the page."""
    page, found = PAGE.read_text(), tables()
    for name, rows in found.items():
        before, place, rest = page.partition(f"<!-- {name} -->\n")
        page = before + place + rows + "\n" + re.sub(r"\A(?:\|.*\n)*", "", rest)
    PAGE.write_text(page)
    publish("scale", "\n\n".join([f"# {(__doc__ or '').strip()}", *found.values()]) + "\n")


if __name__ == "__main__":
    main()
