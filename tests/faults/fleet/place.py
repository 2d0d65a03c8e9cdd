"""The place that is struck: a fleet's addresses and secrets, and what is registered there for the matrix."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from tests.faults.chaos.rows import Server
from tests.faults.fleet.schedules import Schedule, find_deployment, make
from tests.fixtures.upstreams import ROOT, free_port

UPSTREAM = str(ROOT / "tests" / "upstreams" / "journaled.py")
FIRED_SECONDS = 180
CALLERS = 8
"""Users who call at `/mcp`: a balancer that goes by their tokens sends them to all processes."""


class Part(Protocol):
    """A process of the fleet."""

    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def cut(self) -> None: ...
    def restore(self) -> None: ...


@dataclass(frozen=True)
class Place:
    """A fleet with the servers `journaled` and `piped`, whose executions are in the journal."""

    url: str
    prefect_url: str
    prefect_auth: tuple[str, str] | None
    key: str
    database_url: str
    journal: Path
    tokens: tuple[str, ...]
    """Of users who call at `/mcp`."""
    servers: Mapping[str, Server]
    schedule: Schedule
    """One of the deployment `invoke-tool`, which is there all the time."""

    @property
    def deployment(self) -> str:
        """The id of `invoke-tool` in Prefect."""
        return self.schedule.deployment

    @property
    def environment(self) -> dict[str, str]:
        """What the command line needs."""
        return {"NEXUS_URL": self.url, "NEXUS_TOKEN": self.key}

    def prefect(self) -> httpx.AsyncClient:
        """A client of Prefect's API, as its UI is one."""
        return httpx.AsyncClient(base_url=self.prefect_url, auth=self.prefect_auth, timeout=15, trust_env=False)


@asynccontextmanager
async def prepared(
    url: str,
    prefect_url: str,
    prefect_auth: tuple[str, str] | None,
    key: str,
    database_url: str,
    directory: Path,
    *,
    host: str = "127.0.0.1",
) -> AsyncIterator[Place]:
    """Start the upstream at an address that the whole fleet reaches, and register it twice, with users who call."""
    journal = directory / "journal"
    async with _upstream(journal, host) as upstream:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as api:
            piped = {"command": sys.executable, "args": [UPSTREAM, "--journal", str(journal)]}
            servers = {
                "journaled": await _register(api, {"name": "journaled", "url": upstream}),
                "piped": await _register(api, {"name": "piped", **piped}),
            }
            tokens = [await _add_user(api, f"caller{number}") for number in range(CALLERS)]
        async with httpx.AsyncClient(base_url=prefect_url, auth=prefect_auth, timeout=30, trust_env=False) as prefect:
            schedule = await make(prefect, await find_deployment(prefect), "journaled__plain", "schedule")
            place = Place(url, prefect_url, prefect_auth, key, database_url, journal, tuple(tokens), servers, schedule)
            await until_fired(journal, schedule.tag)
            yield place


async def until_fired(journal: Path, tag: str) -> None:
    """Wait for the next run of a schedule: Prefect's scheduler may take a minute to see that it is there."""
    before = _count(journal, tag)
    async with asyncio.timeout(FIRED_SECONDS):
        while _count(journal, tag) == before:
            await asyncio.sleep(1)


def _count(journal: Path, tag: str) -> int:
    return journal.read_text().count(f'"{tag}"') if journal.exists() else 0


async def _register(api: httpx.AsyncClient, body: dict[str, object]) -> Server:
    return Server((await api.post("/v1/servers", json=body)).raise_for_status().json()["id"])


async def _add_user(api: httpx.AsyncClient, name: str) -> str:
    (await api.post("/v1/users", json={"name": name})).raise_for_status()
    return str((await api.post(f"/v1/users/{name}/tokens")).raise_for_status().json()["token"])


@asynccontextmanager
async def _upstream(journal: Path, host: str) -> AsyncIterator[str]:
    """The HTTP upstream, which is never struck; its URL."""
    port = free_port()
    arguments = ("--journal", str(journal), "--port", str(port), "--host", host)
    process = await asyncio.create_subprocess_exec(sys.executable, UPSTREAM, *arguments, stdout=sys.stderr)
    try:
        await _until_open(host, port)
        yield f"http://{host}:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


async def _until_open(host: str, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
