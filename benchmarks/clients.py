"""How well do many clients share a hub: single jobs, batches, a flood of another user, much history, and idleness?

All in one run on one hub, against an echo server over HTTP (a process of its own; `upstream` in the tables). Each part
is chosen by its name with `--only`:

- alone: one job at a time, by turns through the hub (`POST /v1/jobs` until `HubClient.watch` shows the end) and as the
  floor: `await invoke_tool(job_id=...)` on a stored job in this process, which is warm;
- loops: 1, 8 and 32 clients, each of which sends a job, waits for its end and sends the next; the floor 8 at a time;
  in turns. How many flow runs Prefect saw of them, and what each process spent on a job;
- start: from when the first job is stored (`created_at`) until it is claimed (`started_at`), of a single job and of a
  batch of 100, in turns;
- batches: 1,000 jobs in one request and 10,000 in ten at once; jobs over the time from the first `created_at` to the
  last `completed_at`;
- flood: one user sends 10,000 jobs of which 32 hang until the measurement is over; another user sends one quick job
  after the other, with pauses of 0.1 to 0.5 s, alone and in each flood;
- history: alone, loops and batches again with 1,000,000 ended jobs in the table, again while a transaction is held open
  that began before tens of thousands of other jobs, and once more without both: what the last one differs by from the
  first is the machine's, and Prefect's own history;
- idle: what each process takes of a core while nothing happens.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks import flood as floods
from benchmarks.batch import Measured, batch, to_start
from benchmarks.loops import MANY, SOME, Loops
from benchmarks.many_jobs import add_ended, held_open, remove_all
from benchmarks.processes import reachable
from benchmarks.report import machine, milliseconds, percentile, publish, table
from benchmarks.ways import Bench, by_floor, echo_server, idle, in_turns, join, opened
from nexus_hub.home.layout import Home
from nexus_hub.jobs.requests import JobRequest
from tests.fixtures.hub import running

REQUEST = JobRequest("tool_invoke", "echo__echo", {"n": 1})
PARTS = ("start", "idle", "flood", "alone", "loops", "batches", "history")
"""In the order in which they run; the last one compares with the three before it."""
WARMING = 20
FLAT = 0.9
FRESH = "as it was"


@dataclass
class Figures:
    """What can be measured again and again."""

    hub: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    loops: Loops | None = None
    batches: dict[int, list[Measured]] = field(default_factory=dict)

    def rate(self, size: int) -> float:
        """Jobs per second of all batches of one size."""
        return sum(one.jobs for one in self.batches[size]) / sum(one.seconds for one in self.batches[size])


@dataclass
class Found:
    """All that a run measured; a part that was not asked for is empty."""

    starts: dict[int, list[float]] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    flood: dict[str, floods.Quick] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    history: dict[str, Figures] = field(default_factory=dict)
    held: str = ""


@dataclass(frozen=True)
class Run:
    """A bench, what is asked of it, and what it has found so far."""

    bench: Bench
    asked: argparse.Namespace
    found: Found

    async def start(self) -> None:
        """Starts of the first job, of single ones and of batches, in turns."""
        starts = self.found.starts = {1: [], 100: []}
        for _ in range(self.asked.times):
            for size, seconds in starts.items():
                seconds.append(await to_start(self.bench, size))

    async def idle(self) -> None:
        """Shares of a core."""
        self.found.idle = await idle(self.bench.processes, self.asked.idle_seconds)

    async def flood(self) -> None:
        """Another user's jobs beside a flood."""
        self.found.flood = await floods.measured(self.bench, self.asked.flood, self.asked.flood_seconds)

    async def alone(self) -> None:
        """One job at a time."""
        await self._alone(self.found.figures)

    async def loops(self) -> None:
        """Clients with one job at a time."""
        self.found.figures.loops = await Loops.of(self.asked.jobs).run(self.bench)

    async def batches(self) -> None:
        """Batches of both sizes."""
        await self._batches(self.found.figures)

    async def history(self) -> None:
        """The repeatable parts with many ended jobs, and with a transaction held open."""
        admin, found = Home(self.bench.hub.home).role_url("postgres", "hub"), self.found.history
        done = self.found.figures
        found[FRESH] = done if done.hub and done.loops and done.batches else await self._figures(FRESH)
        await asyncio.to_thread(add_ended, admin, self.asked.rows)
        name = f"{self.asked.rows:,} ended jobs"
        found[name] = await self._figures(name)
        with held_open(admin):
            began = time.monotonic()
            passed = await self._pass_jobs()
            await asyncio.sleep(max(began + self.asked.held_seconds - time.monotonic(), 0))
            before = (time.monotonic() - began) / 60
            found["and a transaction"] = await self._figures("and a transaction")
            after = (time.monotonic() - began) / 60
        self.found.held = (
            f"When the measuring began, the transaction had been open for {before:.1f} minutes and {passed:,} jobs; "
            f"when it ended, for {after:.1f} minutes."
        )
        await asyncio.to_thread(remove_all, admin)
        found["without both"] = await self._figures("without both")

    async def _pass_jobs(self) -> int:
        passed = 0
        while passed < self.asked.held_jobs:
            passed += (await batch(self.bench, self.asked.batch)).jobs
        return passed

    async def _figures(self, name: str) -> Figures:
        figures = Figures()
        await self._alone(figures)
        figures.loops = await Loops.of(self.asked.jobs).run(self.bench)
        await self._batches(figures)
        sys.stderr.write(f"{name}:\n{_alone(figures)}\n{figures.loops.table()}\n{_batches(figures)}\n")
        return figures

    async def _alone(self, figures: Figures) -> None:
        hub, figures.floor = await in_turns(self.bench, self.asked.times)
        figures.hub = [took for took, _ in hub]

    async def _batches(self, figures: Figures) -> None:
        small, large = max(self.asked.batch // 10, 1), self.asked.batch
        for size in (small, large, small):
            figures.batches.setdefault(size, []).append(await batch(self.bench, size))


@dataclass(frozen=True)
class Target:
    """A figure, and what it should be at most; or at least, if it is `better` the more there is."""

    what: str
    figure: float
    bound: float
    unit: str = ""
    better: bool = False

    def row(self) -> list[str]:
        """How it stands in the table."""
        reached = self.figure >= self.bound if self.better else self.figure <= self.bound
        sign = ">=" if self.better else "<="
        shown = f"{self.figure:.2f}{self.unit}" if self.figure < 10 else f"{self.figure:.0f}{self.unit}"
        return [self.what, f"{sign} {self.bound:g}{self.unit}", shown, "yes" if reached else "no"]


def targets(found: Found) -> list[Target]:
    """Those of the parts that ran."""
    figures, rows = found.figures, []
    if figures.loops:
        many, some, one = figures.loops.many, figures.loops.some, figures.loops.one
        rows += [
            Target(f"{MANY} clients", many.rate, 50, " jobs/s", better=True),
            Target(f"{MANY} clients, p50", percentile(many.took, 50), 0.7, " s"),
            Target(f"{MANY} clients, p95", percentile(many.took, 95), 1.3, " s"),
            Target(f"{SOME} clients, of the floor's rate", some.rate / figures.loops.floor.rate, 5, "x", better=True),
            Target("API and worker, processor per lone job", one.milliseconds_of("api", "worker"), 60, " ms"),
        ]
    if figures.hub:
        for percent, bound in ((50, 1.1), (95, 1.3)):
            ratio = percentile(figures.hub, percent) / percentile(figures.floor, percent)
            rows.append(Target(f"one at a time, p{percent} of the floor's", ratio, bound, "x"))
    if found.starts:
        ratio = percentile(found.starts[100], 95) / percentile(found.starts[1], 95)
        rows.append(Target("start of a batch of 100, p95 of a single job's", ratio, 1, "x"))
    if figures.batches:
        small, large = figures.batches
        rows.append(Target(f"batch of {small:,}", figures.rate(small), 400, " jobs/s", better=True))
        rows.append(Target(f"batch of {large:,}", figures.rate(large), 400, " jobs/s", better=True))
        flat = figures.rate(large) / figures.rate(small)
        rows.append(Target("the larger batch's rate of the smaller one's", flat, FLAT, "x", better=True))
    for name, aged in list(found.history.items())[1:]:
        worst = max(_worse(found.history[FRESH], aged).values())
        rows.append(Target(f"history: the worst ratio, {name}", worst, 1.1, "x"))
    for name, quick in list(found.flood.items())[1:]:
        ratio = percentile(quick.took, 95) / percentile(found.flood["alone"].took, 95)
        rows.append(Target(f"quick job beside a flood ({name}), p95 of that alone", ratio, 2, "x"))
    if found.idle:
        rows.append(Target("idle, API and worker, of a core", _both(found.idle) * 100, 1.5, " %"))
    return rows


def _both(shares: dict[str, float]) -> float:
    return shares["api"] + shares["worker"]


def _costs(figures: Figures) -> dict[str, tuple[float, str]]:
    """What grows when things get worse, as seconds, and how it is shown."""
    assert figures.loops
    times = {
        f"{name}, p{percent}": percentile(took, percent)
        for name, took in {
            "one at a time": figures.hub,
            "the floor, one at a time": figures.floor,
            f"{SOME} clients": figures.loops.some.took,
            f"{MANY} clients": figures.loops.many.took,
        }.items()
        for percent in (50, 95)
    }
    rates = {f"{SOME} clients": figures.loops.some.rate, f"{MANY} clients": figures.loops.many.rate}
    rates |= {f"batch of {size:,}": figures.rate(size) for size in figures.batches}
    return {name: (seconds, milliseconds(seconds)) for name, seconds in times.items()} | {
        f"{name}, rate": (1 / rate, f"{rate:.1f} jobs/s") for name, rate in rates.items()
    }


def _worse(fresh: Figures, aged: Figures) -> dict[str, float]:
    """How many times as long all takes as on the fresh table."""
    before, after = _costs(fresh), _costs(aged)
    return {name: after[name][0] / before[name][0] for name in before}


def _alone(figures: Figures) -> str:
    low = [percentile(figures.floor, p) for p in (50, 95)]
    rows = [
        [
            way,
            str(len(took)),
            *(milliseconds(percentile(took, p)) for p in (50, 95)),
            *(f"{percentile(took, p) / floor:.2f}" for p, floor in zip((50, 95), low, strict=True)),
        ]
        for way, took in {"floor: the flow alone": figures.floor, "hub": figures.hub}.items()
    ]
    return table(["way", "jobs", "p50", "p95", "p50 / floor's", "p95 / floor's"], rows)


def _starts(found: Found) -> str:
    rows = [
        ["a single job" if size == 1 else f"a batch of {size:,}", str(len(took))]
        + [milliseconds(percentile(took, p)) for p in (50, 95)]
        for size, took in found.starts.items()
    ]
    return table(["time to start of the first", "times", "p50", "p95"], rows)


def _batches(figures: Figures) -> str:
    measured = [one for some in figures.batches.values() for one in some]
    names = list(measured[0].processor)
    rows = [
        [
            f"{one.jobs:,}",
            str(one.runs),
            f"{one.seconds:.1f} s",
            f"{one.rate:.1f}",
            *(f"{one.processor[name] / one.jobs * 1000:.1f} ms" for name in names),
        ]
        for one in measured
    ]
    return table(["batch", "flow runs", "time", "jobs/s", *(f"CPU per job: {name}" for name in names)], rows)


def _history(found: Found) -> str:
    fresh = found.history[FRESH]
    costs = {name: _costs(figures) for name, figures in found.history.items()}
    worse = {name: _worse(fresh, figures) for name, figures in found.history.items()}
    rows = [[what, *(f"{costs[name][what][1]} ({worse[name][what]:.2f}x)" for name in costs)] for what in costs[FRESH]]
    return table(["what (times as long)", *costs], rows)


def _idle(found: Found) -> str:
    shares = found.idle | {"worker and API together": _both(found.idle)}
    return table(["process", "of a core"], [[name, f"{share:.2%}"] for name, share in shares.items()])


def report(found: Found, on: str) -> str:
    """All that was found, as Markdown."""
    figures = found.figures
    parts = [f"# {(__doc__ or '').strip()}"]
    if rows := [target.row() for target in targets(found)]:
        parts.append(table(["what", "target", "reached", "met"], rows))
    if figures.hub:
        parts += ["One at a time:", _alone(figures)]
    if figures.loops:
        parts += ["Clients with one job at a time:", figures.loops.table()]
    if found.starts:
        parts += ["Start of the first job:", _starts(found)]
    if figures.batches:
        parts += ["Batches:", _batches(figures)]
    if found.flood:
        parts += ["Another user's quick jobs beside a flood:", floods.shown(found.flood)]
    if found.history:
        parts += ["With a history:", _history(found), found.held]
    if found.idle:
        parts += ["While nothing happens:", _idle(found)]
    return "\n\n".join([*parts, on]) + "\n"


async def measured(asked: argparse.Namespace) -> str:
    """Start the servers and a hub, measure what is asked for, and stop them; the report."""
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(echo_server()) for name in (floods.ECHO, floods.OTHER)}
        directory = reachable(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-hub-bench-")))
        open_jobs = {"NEXUS_USER_OPEN_JOBS": str(asked.flood + floods.PER_REQUEST)}
        hub = stack.enter_context(running(directory, **open_jobs))
        for name, server in servers.items():
            added = hub.run("server", "add", name, "--url", server.url)
            assert added.code == 0, added.err
        join(hub)
        on, found = machine(hub.app_url), Found()
        bench = await stack.enter_async_context(opened(hub, REQUEST, upstream=servers[floods.ECHO].process.pid))
        await batch(bench, WARMING)
        await by_floor(bench)
        run = Run(bench, asked, found)
        try:
            for name in asked.only:
                part: Callable[[], Awaitable[None]] = getattr(run, name)
                await part()
                sys.stderr.write(f"{name}: done\n")
        except BaseException:
            sys.stderr.write(report(found, on))  # what there is took long to measure
            raise
        return report(found, on)


def parts(names: str) -> list[str]:
    """The parts that are named, in the order in which they run."""
    named = names.split(",")
    if unknown := set(named) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return [part for part in PARTS if part in named]


def main() -> None:
    """Measure; a run of all parts is kept, any other is only shown."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--only", type=parts, default=list(PARTS), metavar="NAME[,NAME]", help=", ".join(PARTS))
    options.add_argument("--times", type=int, default=50, help="jobs one at a time, and starts, of each way")
    options.add_argument("--jobs", type=int, default=600, help=f"jobs of {MANY} clients; others run a share of them")
    options.add_argument("--batch", type=int, default=10_000, help="jobs of the larger batch; the smaller is a tenth")
    options.add_argument("--flood", type=int, default=10_000, help="jobs of the flood")
    options.add_argument("--flood-seconds", type=float, default=120, help="how long a flood is measured at most")
    options.add_argument("--rows", type=int, default=1_000_000, help="ended jobs in the table")
    options.add_argument("--held-jobs", type=int, default=30_000, help="jobs after the transaction began, at least")
    options.add_argument("--held-seconds", type=float, default=0, help="how long it is open before, at least")
    options.add_argument("--idle-seconds", type=float, default=300, help="how long nothing happens")
    asked = options.parse_args()
    text = asyncio.run(measured(asked))
    if asked.only == list(PARTS):
        publish("clients", text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
