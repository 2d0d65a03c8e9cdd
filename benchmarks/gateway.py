"""How much does the hub's `/mcp` add to a call, against a bare pass-through on the SDK, and against FastMCP's proxy?

Four ways to the same tool of the same server, an SDK server over HTTP in a process of its own:

- direct: the caller asks the server;
- pass-through: a server on the SDK that makes each call on one shared client, with no caller, limit, circuit or record;
- hub: the whole hub, asked with a user's token; the server has a rate limit, and every call is recorded;
- FastMCP's proxy: `fastmcp` from PyPI, in an environment that this benchmark makes in a temporary directory.

The caller speaks HTTP by hand over connections that stay open, in both eras of the protocol. Ways take turns within
each round, one call at a time and then many at a time; what a way adds is its time less the direct call's. Trust the
ratios: milliseconds differ from machine to machine. Then lists: pages of 1,000 tools against calls, alone and beside 20
servers, of which one hangs (its process is stopped, and it is being called) and one has 5,000 tools.
"""

import argparse
import asyncio
import gc
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.processes import Processes, reachable
from benchmarks.report import machine, percentile, publish, table
from benchmarks.wire import ERAS, MODERN, Caller, Refused
from tests.fixtures.hub import Hub, running
from tests.fixtures.upstreams import ROOT, Process, free_port, start

DIRECT, PASS, HUB, FASTMCP = "direct", "pass-through", "hub", "FastMCP's proxy"
MANY, WARM_UPS = 16, 20
LIMIT = "1000000"
HANG, HUGE, PAGE = "hanging", "huge", "thousand"
OTHERS = 17


@dataclass(frozen=True)
class Way:
    """A way to the tool, and the processes that work for it."""

    name: str
    url: str
    tool: str
    token: str | None
    processes: dict[str, psutil.Process]


@dataclass
class Times:
    """Of one way in one era: seconds of calls one at a time and many at a time, and what was spent on the latter."""

    alone: list[float] = field(default_factory=list)
    crowd: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass
class Era:
    """The times of all ways in one era; a way that does not speak it has none."""

    ways: dict[str, Times] = field(default_factory=lambda: defaultdict(Times))

    def added(self, name: str, percent: int = 50) -> float:
        return percentile(self.ways[name].alone, percent) - percentile(self.ways[DIRECT].alone, percent)

    def rate(self, name: str) -> float:
        times = self.ways[name]
        return len(times.crowd) / times.wall


TARGETS: tuple[tuple[str, str, Callable[[Era], float]], ...] = (
    ("what the hub adds / what the pass-through adds, p50", "at most 1.3", lambda of: of.added(HUB) / of.added(PASS)),
    ("the same, p99", "at most 2", lambda of: of.added(HUB, 99) / of.added(PASS, 99)),
    ("calls/s, hub / pass-through", "at least 0.8", lambda of: of.rate(HUB) / of.rate(PASS)),
    ("what FastMCP's proxy adds / what the hub adds, p50", "at least 10", lambda of: of.added(FASTMCP) / of.added(HUB)),
    ("calls/s, hub / FastMCP's proxy", "at least 5", lambda of: of.rate(HUB) / of.rate(FASTMCP)),
)


@asynccontextmanager
async def script(name: str, *arguments: str, python: str = sys.executable) -> AsyncIterator[Process]:
    """A server of this directory in a process of its own, ended after the block."""
    port = free_port()
    server = await start(python, str(ROOT / "benchmarks" / name), str(port), *arguments, port=port)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGCONT)
        await server.kill()


def fastmcp_python(directory: Path) -> tuple[str, str]:
    """Make an environment with fastmcp; its interpreter, and the version."""
    uv, place = str(Path(sys.executable).with_name("uv")), directory / "fastmcp"
    python = str(place / "bin" / "python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(place)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "fastmcp"], check=True)
    shown = "import importlib.metadata as m; print(m.version('fastmcp'))"
    return python, subprocess.run([python, "-c", shown], check=True, capture_output=True, text=True).stdout.strip()


async def timed(caller: Caller, tool: str, number: int) -> float:
    began = time.perf_counter()
    text = await caller.call(tool, n=number)
    took = time.perf_counter() - began
    assert str(number) in text, text
    return took


async def alone(way: Way, era: str, times: Times, calls: int) -> None:
    """Calls one after the other."""
    async with Caller(way.url, era, way.token) as caller:
        for number in range(WARM_UPS):
            await timed(caller, way.tool, number)
        times.alone += [await timed(caller, way.tool, number) for number in range(calls)]


async def crowd(way: Way, era: str, times: Times, calls: int) -> None:
    """Calls of many callers, each with a connection of its own; and what every process spends on them."""
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(way.url, era, way.token)) for _ in range(MANY)]
        await asyncio.gather(*(timed(caller, way.tool, 0) for caller in callers))

        async def work(caller: Caller) -> list[float]:
            return [await timed(caller, way.tool, number) for number in range(calls // MANY)]

        processes = Processes(way.processes)
        before, began = processes.seconds(), time.perf_counter()
        for took in await asyncio.gather(*map(work, callers)):
            times.crowd += took
        times.wall += time.perf_counter() - began
        for name, spent in processes.since(before).items():
            times.cpu[name] += spent


async def measure_calls(ways: list[Way], asked: argparse.Namespace) -> dict[str, Era]:
    """All ways by turns, in both eras; a way that refuses an era is left out of it."""
    found = {era: Era() for era in ERAS}
    unable: set[tuple[str, str]] = set()
    for number in range(asked.rounds):
        for era in ERAS:
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                if (era, way.name) in unable:
                    continue
                try:
                    await alone(way, era, found[era].ways[way.name], asked.calls)
                    await crowd(way, era, found[era].ways[way.name], asked.crowd)
                except (Refused, httpx.HTTPError, KeyError) as error:
                    if way.name != FASTMCP:
                        raise
                    unable.add((era, way.name))
                    found[era].ways.pop(way.name, None)
                    sys.stderr.write(f"{way.name} in {era}: {type(error).__name__}\n")
        sys.stderr.write(f"round {number + 1} of {asked.rounds}\n")
    return found


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def calls_table(era: Era) -> str:
    base = era.added(PASS) if PASS in era.ways else 0.0
    rows = []
    for name, times in era.ways.items():
        added = era.added(name)
        first = [_ms(percentile(times.alone, percent)) for percent in (50, 99)]
        shares = ["-", "-"] if name == DIRECT or not base else [_ms(added), f"{added / base:.2f}"]
        many = [_ms(percentile(times.crowd, percent)) for percent in (50, 99)]
        share = f"{era.rate(name) / era.rate(PASS):.2f}" if base else "-"
        rows.append([name, str(len(times.alone)), *first, *shares, f"{era.rate(name):.0f}", share, *many])
    head = ["way", "calls", "p50", "p99", "adds (p50)", "/ pass-through's"]
    return table([*head, f"calls/s, {MANY} at a time", "/ pass-through's", "p50", "p99"], rows)


def cpu_table(era: Era) -> str:
    names = list(dict.fromkeys(name for times in era.ways.values() for name in times.cpu))
    rows = [
        [way, *(_ms(times.cpu[name] / len(times.crowd)) if name in times.cpu else "-" for name in names)]
        for way, times in era.ways.items()
    ]
    return table(["way", *names], rows)


def targets_table(found: dict[str, Era]) -> str:
    rows = []
    for what, target, value in TARGETS:
        measured = []
        for era in found.values():
            try:
                measured.append(f"{value(era):.2f}")
            except (ZeroDivisionError, ValueError, IndexError):
                measured.append("-")
        rows.append([what, target, *measured])
    return table(["", "target", *found], rows)


@dataclass
class Lists:
    """Seconds by what was asked, in a hub with few servers and in one with many."""

    rows: list[tuple[str, str, list[float]]] = field(default_factory=list)

    def table(self) -> str:
        calls = {place: percentile(seconds, 99) for place, what, seconds in self.rows if what == "tools/call"}
        return table(
            ["hub", "request", "p50", "p99", "p99 / a call's"],
            [
                [
                    place,
                    what,
                    *(_ms(percentile(seconds, p)) for p in (50, 99)),
                    f"{percentile(seconds, 99) / calls[place]:.2f}",
                ]
                for place, what, seconds in self.rows
            ],
        )


async def by_turns(asked: dict[str, Callable[[], Awaitable[object]]], times: int) -> dict[str, list[float]]:
    """Make requests in turns; seconds of each."""
    found: dict[str, list[float]] = {what: [] for what in asked}
    for _ in range(times + 3):
        for what, request in asked.items():
            began = time.perf_counter()
            await request()
            found[what].append(time.perf_counter() - began)
    return {what: seconds[3:] for what, seconds in found.items()}


async def measure_lists(hub: Hub, token: str, times: int) -> Lists:
    """Lists against calls, with two servers and then with 20."""
    lists = Lists()
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(script("many_tools.py", str(count)))
            for name, count in ((PAGE, 1000), (HUGE, 5000), (HANG, 10), ("other", 10))
        }
        add(hub, PAGE, servers[PAGE].url)
        whole = await stack.enter_async_context(Caller(f"{hub.url}/mcp", MODERN, token))
        one = await stack.enter_async_context(Caller(f"{hub.url}/mcp/{PAGE}", MODERN, token))
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "tools/call": lambda: whole.call("bench__echo", n=1),
            "tools/list of the server, 1,000 tools": lambda: one.request("tools/list"),
            "tools/list of the hub, its first page": lambda: whole.request("tools/list"),
        }
        assert len((await one.request("tools/list"))["tools"]) >= 1000
        lists.rows += [("2 servers", *row) for row in (await by_turns(asked, times)).items()]
        for name in (HUGE, HANG):
            add(hub, name, servers[name].url)
        for number in range(OTHERS):
            add(hub, f"other{number}", f"{servers['other'].url}?n={number}")
        servers[HANG].process.send_signal(signal.SIGSTOP)
        calling = [asyncio.create_task(call_for_ever(hub, token)) for _ in range(4)]
        await asyncio.sleep(2)
        lists.rows += [("20 servers, one hangs", *row) for row in (await by_turns(asked, times)).items()]
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
    return lists


async def call_for_ever(hub: Hub, token: str) -> None:
    """Call the server that hangs, again and again."""
    while True:
        with suppress(Refused, httpx.HTTPError):
            async with Caller(f"{hub.url}/mcp", MODERN, token) as caller:
                await asyncio.wait_for(caller.call(f"{HANG}__look_up_0001", query="x"), 5)
        await asyncio.sleep(0.1)


def add(hub: Hub, name: str, url: str) -> None:
    added = hub.run("server", "add", name, "--url", url, "--limit-per-minute", LIMIT)
    assert added.code == 0, added.err


async def measured(asked: argparse.Namespace, directory: Path, hub: Hub | None) -> str:
    """Measure; the report."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(script("echo.py"))
        always = {"upstream": psutil.Process(upstream.process.pid), "caller": psutil.Process()}
        passing = await stack.enter_async_context(script("pass_through.py", upstream.url))
        ways = [
            Way(DIRECT, upstream.url, "echo", None, always),
            Way(PASS, passing.url, "bench__echo", None, always | {"gateway": psutil.Process(passing.process.pid)}),
        ]
        notes, token = [], ""
        if hub is not None:
            add(hub, "bench", upstream.url)
            token, parts = hub.user("bench"), Processes.of(hub).parts
            used = {"gateway": parts["api"], "postgres": parts["postgres"], "worker": parts["worker"]}
            ways.append(Way(HUB, f"{hub.url}/mcp", "bench__echo", token, always | used))
        if not asked.no_fastmcp:
            python, version = fastmcp_python(directory)
            proxy = await stack.enter_async_context(script("fastmcp_proxy.py", upstream.url, python=python))
            ways.append(Way(FASTMCP, proxy.url, "echo", None, always | {"gateway": psutil.Process(proxy.process.pid)}))
            notes.append(f"FastMCP {version}.")
        found = await measure_calls(ways, asked)
        memory = [
            [way.name, f"{resident(way.processes['gateway']):.0f} MB"] for way in ways if "gateway" in way.processes
        ]
        lists = await measure_lists(hub, token, asked.lists) if hub is not None and asked.lists else None
    return "\n\n".join(report(found, notes, memory, lists)) + "\n"


def resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def report(found: dict[str, Era], notes: list[str], memory: list[list[str]], lists: Lists | None) -> Iterable[str]:
    yield f"# {(__doc__ or '').strip()}"
    yield from notes
    for era, times in found.items():
        yield f"## Protocol {era}"
        yield calls_table(times)
        yield f"Processor time per call, {MANY} at a time:"
        yield cpu_table(times)
    yield "## Targets"
    yield targets_table(found)
    yield "## Memory"
    yield table(["the gateway's process, at the end", ""], memory)
    if lists is not None:
        yield "## Lists"
        yield f"Pages have 1,000 entries or 2 MiB. Protocol {MODERN}, one request at a time, by turns."
        yield lists.table()


def main() -> None:
    """Start all that is compared, measure, and stop it; a run with everything in it is kept."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=4, help="rounds in which the ways take turns")
    options.add_argument("--calls", type=int, default=250, help="calls one at a time, of each way and era in a round")
    options.add_argument("--crowd", type=int, default=960, help=f"calls {MANY} at a time, likewise")
    options.add_argument("--lists", type=int, default=200, help="requests of each kind with lists; 0: none")
    options.add_argument("--no-hub", action="store_true", help="leave the hub out")
    options.add_argument("--no-fastmcp", action="store_true", help="leave FastMCP's proxy out")
    options.add_argument("--show", action="store_true", help="only show the result")
    asked = options.parse_args()
    gc.freeze()  # a caller that reads long lists would go through all that is imported again and again, 80 ms each time
    with tempfile.TemporaryDirectory(prefix="nexus-hub-bench-") as place:
        directory = reachable(place)
        if asked.no_hub:
            text = asyncio.run(measured(asked, directory, None))
        else:
            with running(directory) as hub:
                text = asyncio.run(measured(asked, directory, hub)) + f"\n{machine(hub.app_url)}\n"
    if asked.show or asked.no_hub or asked.no_fastmcp or not asked.lists:
        sys.stdout.write(text)
    else:
        publish("gateway", text)


if __name__ == "__main__":
    main()
