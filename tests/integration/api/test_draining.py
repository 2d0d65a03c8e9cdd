"""An API process that is told to stop: what `/readyz` says, who notices, and which calls fail."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from nexus_hub.client import HubClient
from tests.fixtures.mcp_wire import wire
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.round_robin import Balancer, proxying, start_api
from tests.fixtures.served import SERVICE_KEY, settings_of
from tests.fixtures.upstreams import UPSTREAMS, Process, free_port

SECONDS = 300
DRAIN_SECONDS = 4.0
"""More than the balancer takes to look on a busy machine."""
HEADERS = {"Authorization": f"Bearer {SERVICE_KEY}"}
CALL_SECONDS, LONG_SECONDS = 0.2, 8.0


async def test_readiness_says_that_a_process_drains_while_it_goes_on_serving(
    database: HubDatabase, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        running(database, tmp_path, drain_seconds=SECONDS) as api,
        httpx.AsyncClient(base_url=api.url, headers=HEADERS, trust_env=False) as http,
    ):
        assert (await http.get("/readyz")).json()["status"] == "ok"
        assert "connection" not in (await http.get("/v1/jobs")).headers
        api.process.send_signal(signal.SIGTERM)
        while (answer := await http.get("/readyz")).status_code == httpx.codes.OK:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert (await http.get("/healthz")).status_code == httpx.codes.OK
        while "connection" not in (answer := await http.get("/v1/jobs")).headers:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        api.process.send_signal(signal.SIGTERM)
        assert await api.process.wait() == -signal.SIGTERM


async def test_a_process_answers_balancers_until_its_last_call_has_ended(database: HubDatabase, tmp_path: Path) -> None:
    """One that can't connect takes the process for dead, and cuts off the calls that it still has there."""
    async with (
        asyncio.timeout(SECONDS),
        running(database, tmp_path, drain_seconds=0.1, api_grace_seconds=SECONDS) as api,
        httpx.AsyncClient(base_url=api.url, trust_env=False) as http,
        wire(api.url, SERVICE_KEY) as caller,
    ):
        await register(api.url, tmp_path)
        call = {"name": "srv__plain", "arguments": {"tag": "long", "seconds": LONG_SECONDS}}
        calling = asyncio.create_task(caller.modern("tools/call", call))
        while not (journal := tmp_path / "journal").exists() or "long" not in journal.read_text():
            await asyncio.sleep(0.01)
        api.process.send_signal(signal.SIGTERM)
        while (answer := await http.get("/readyz")).status_code == httpx.codes.OK:
            await asyncio.sleep(0.01)
        while not calling.done():
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            await asyncio.sleep(0.1)
            if not calling.done():
                answer = await http.get("/readyz")
        assert "long" in (await calling).result["content"][0]["text"]
        assert await api.process.wait() == -signal.SIGTERM


async def test_processes_that_are_stopped_behind_a_balancer_fail_no_call(database: HubDatabase, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path, free_port(), drain_seconds=DRAIN_SECONDS)
    ports = [free_port(), free_port()]
    async with asyncio.timeout(SECONDS), AsyncExitStack() as stack:
        processes = list(await asyncio.gather(*(start_api(settings, port, as_fork=False) for port in ports)))
        stack.push_async_callback(lambda: asyncio.gather(*(one.kill() for one in processes)))
        url, balancer = await stack.enter_async_context(proxying([one.url for one in processes], Balancer))
        looking = asyncio.create_task(balancer.keep_looking())
        stack.callback(looking.cancel)
        await register(url, tmp_path)
        load = Load(url)
        callers = [asyncio.create_task(caller) for caller in load.callers()]
        await load.until_each(2)
        for number, port in enumerate(ports):
            processes[number].process.send_signal(signal.SIGTERM)
            assert await processes[number].process.wait() == -signal.SIGTERM
            await load.until_each(2)
            processes[number] = await start_api(settings, port, as_fork=False)
            while number not in balancer.ready:
                await asyncio.sleep(0.01)
            await load.until_each(2)
        load.is_over = True
        await asyncio.gather(*callers)
    assert {number for number, _ in balancer.passed} == {0, 1}
    assert load.failures == []


class Load:
    """Callers that call again and again, until it is over."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_over = False
        self.failures: list[str] = []
        self.done: Counter[str] = Counter()

    def callers(self) -> list[Any]:
        """Callers of both eras, and of jobs."""
        return [
            *(self._keep_calling(mode, number) for mode in ("auto", "legacy") for number in range(3)),
            *(self._keep_reconnecting(mode) for mode in ("auto", "legacy")),
            self._keep_sending_jobs(),
        ]

    async def until_each(self, times: int) -> None:
        """Wait until each of the callers has done so much more."""
        before = self.done.copy()
        while any(self.done[name] < before[name] + times for name in before) or not self.done:
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _client(self, mode: Any) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(headers=HEADERS, timeout=SECONDS) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client

    async def _keep_calling(self, mode: str, number: int) -> None:
        async with self._client(mode) as client:
            while not self.is_over:
                await self._try(f"call {mode} {number}", client.call_tool("srv__plain", _arguments()))

    async def _keep_reconnecting(self, mode: str) -> None:
        while not self.is_over:
            await self._try(f"connect {mode}", self._connect_and_call(mode))

    async def _connect_and_call(self, mode: str) -> Any:
        async with self._client(mode) as client:
            return await client.call_tool("srv__reading", _arguments())

    async def _keep_sending_jobs(self) -> None:
        job = {"name": "srv__plain", "arguments": _arguments()}
        async with HubClient(self.url, SERVICE_KEY) as api:
            while not self.is_over:
                await self._try("job", api.request("POST", "/v1/jobs", job))
                await asyncio.sleep(0.05)

    async def _try(self, name: str, call: Any) -> None:
        try:
            answer = await call
        except Exception as error:
            self.failures.append(f"{name}: {error!r}")
            await asyncio.sleep(0.05)
        else:
            if getattr(answer, "is_error", False):
                self.failures.append(f"{name}: {answer.content}")
            self.done[name] += 1


def _arguments() -> dict[str, Any]:
    return {"tag": "load", "seconds": CALL_SECONDS}


async def register(url: str, folder: Path) -> None:
    """Add the server that the load calls."""
    arguments = [str(UPSTREAMS / "journaled.py"), "--journal", str(folder / "journal")]
    async with HubClient(url, SERVICE_KEY) as api:
        await api.request("POST", "/v1/servers", {"name": "srv", "command": sys.executable, "args": arguments})


@asynccontextmanager
async def running(database: HubDatabase, home: Path, **more: Any) -> AsyncIterator[Process]:
    """An API process with these settings."""
    process = await start_api(settings_of(database, home, free_port(), **more), free_port(), as_fork=False)
    try:
        yield process
    finally:
        await process.kill()
