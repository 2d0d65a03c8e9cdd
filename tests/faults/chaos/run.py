"""One run: a hub, two workers, upstreams, and all that is done to them at once."""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from nexus_hub.home.layout import Home
from tests.faults.chaos import flow_runs, journal, plan
from tests.faults.chaos.checks import Evidence
from tests.faults.chaos.driver import Driver
from tests.faults.chaos.flow_runs import Runs
from tests.faults.chaos.killer import Killer, SecondWorker
from tests.faults.chaos.observer import Observer
from tests.faults.chaos.rows import Rows, Server
from tests.fixtures import forks
from tests.fixtures.hub import Hub
from tests.fixtures.upstreams import ROOT, free_port, start

UPSTREAM = str(ROOT / "tests" / "upstreams" / "journaled.py")
SECONDS_PER_KILL = 6.0
"""About how long a kill takes with what is around it: so much time the submissions are spread over."""
SETTLE_SECONDS = 60
PATIENCE_SECONDS = 300
"""For so long no job may end, at the end, before the run is judged as it is: some wait for runs stuck in Prefect."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done, and from which seed it is drawn."""

    seed: int
    jobs: int
    kills: int
    lease: int
    """The lease of the hub, in seconds."""

    @property
    def times(self) -> dict[str, str]:
        """The settings of the hub that go with the lease."""
        return {
            "NEXUS_LEASE_SECONDS": str(self.lease),
            "NEXUS_HEARTBEAT_SECONDS": str(self.lease / 3),
            "NEXUS_UNCLAIMED_SECONDS": str(self.lease),
            "NEXUS_ABANDONED_SECONDS": str(max(60, 4 * self.lease)),
        }

    @classmethod
    def of_environment(cls) -> "Size":
        """NEXUS_CHAOS_SEED, NEXUS_CHAOS_JOBS, NEXUS_CHAOS_KILLS, NEXUS_CHAOS_LEASE; else those of every test run."""
        values = {"seed": 1, "jobs": 100, "kills": 6, "lease": 12}
        given = {name: os.environ.get(f"NEXUS_CHAOS_{name.upper()}") for name in values}
        return cls(**{name: int(given[name] or default) for name, default in values.items()})


@dataclass(frozen=True, slots=True)
class Report:
    """A run that is over."""

    evidence: Evidence
    runs: Runs
    seconds: float
    tail: float
    """Seconds from the last kill to the last end."""


async def run(hub: Hub, size: Size, directory: Path) -> Report:
    """Submit, kill, wait until all is over, and bring the evidence together."""
    began = time.monotonic()
    blows = plan.blows(size.seed, size.kills, _parts(hub), lease=size.lease)
    jobs = plan.jobs(size.seed, size.jobs, span=size.kills * SECONDS_PER_KILL)
    rows, watching = Rows(hub.app_url), Rows(hub.app_url)
    observer = Observer(watching)
    second = SecondWorker(hub.prefect_environment, hub.home / "logs" / "second-worker.log")
    killer = Killer(
        Home(hub.home).state_file,
        _journal(directory),
        second,
        Rows(hub.app_url),
        random.Random(f"killer {size.seed}"),
    )
    async with _upstream(directory) as url, second.kept(), _prefect(hub) as prefect:
        limited = sum(job.kind.server == "limited" for job in jobs)
        driver = await _driver(hub, prefect, rows, url, directory, max(2, limited // 2))
        watch = asyncio.create_task(observer.watch())
        submissions, _ = await asyncio.gather(driver.drive(jobs), killer.deal(blows))
        await observer.until_all_ended(PATIENCE_SECONDS)
        ended = time.monotonic()
        runs = await flow_runs.settled(prefect, list(observer.first_seen), SETTLE_SECONDS)
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        evidence = Evidence(
            submissions,
            await rows.all(),
            observer.first_seen,
            journal.read(_journal(directory)),
            killer.struck,
            await rows.made_for(),
        )
    last_kill = max(one.at for one in killer.struck if one.deed == "kill")
    for connection in (rows, watching):
        await connection.close()
    return Report(evidence, runs, ended - began, observer.last_end - last_kill)


def _parts(hub: Hub) -> tuple[str, ...]:
    """The PostgreSQL of NEXUS_TEST_POSTGRES_URL is not ours to kill."""
    return tuple(part for part in plan.PARTS if part != "postgres" or "NEXUS_DATABASE_URL" not in hub.extra)


def _journal(directory: Path) -> Path:
    return directory / "journal"


@asynccontextmanager
async def _upstream(directory: Path) -> AsyncIterator[str]:
    """The HTTP upstream, in a process that is never killed; its URL."""
    port = free_port()
    upstream = await start(
        sys.executable, UPSTREAM, "--journal", str(_journal(directory)), "--port", str(port), port=port
    )
    try:
        yield upstream.url
    finally:
        await upstream.kill()


@asynccontextmanager
async def _prefect(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=hub.prefect_url, auth=hub.prefect_auth, timeout=30) as prefect:
        yield prefect


async def _driver(
    hub: Hub, prefect: httpx.AsyncClient, rows: Rows, url: str, directory: Path, per_minute: int
) -> Driver:
    """Users with their tokens, the upstreams registered under the names that the plan uses, and who drives them."""
    tokens: dict[str | None, str] = {None: hub.key}
    users: dict[str | None, str | None] = {None: None}
    piped, *arguments = forks.command(UPSTREAM, "--journal", str(_journal(directory)))
    bodies = [
        {"name": "journaled", "url": url},
        {"name": "limited", "url": url, "limit_per_minute": per_minute},
        {"name": "piped", "command": piped, "args": arguments},
        {"name": "own", "url": url, "owner": plan.USERS[0]},
    ]
    headers = {"Authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=hub.url, headers=headers, timeout=60) as api:
        for name in plan.USERS:
            users[name] = (await api.post("/v1/users", json={"name": name})).raise_for_status().json()["id"]
            answer = await api.post(f"/v1/users/{name}/tokens")
            tokens[name] = answer.raise_for_status().json()["token"]
        servers = {}
        for body in bodies:
            added = (await api.post("/v1/servers", json=body)).raise_for_status().json()
            servers[added["name"]] = Server(added["id"])
    return Driver(hub.url, tokens, prefect, rows, users, servers, random.Random("pauses"))
