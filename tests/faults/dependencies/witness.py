"""The hub's own word on a trouble: its probes, and the health that it shows to operators."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from deployments.fleet import Fleet

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 8.0
LINGERING = "api: warn"
"""Loops that failed are told of for two minutes, though they have gone on long since."""


@dataclass
class Witness:
    """Asks all the time; what was told that is not well, and when all was well again."""

    fleet: Fleet
    told: dict[str, float] = field(default_factory=dict)
    """What is not well, and how many seconds after the trouble's begin it was told first."""
    began: float | None = None
    ended: float | None = None
    normal_after: float | None = None
    """Seconds from the end of the trouble until everything was well."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ask as long as the block runs."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def until_normal(self, patience: float) -> None:
        """Wait until everything is well, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.normal_after is None:
                    await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self) -> None:
        headers = {"Authorization": f"Bearer {self.fleet.service_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
            before = set[str]()
            while True:
                asked_at = time.monotonic()
                unwell = await self._look(client)
                if self.began is None:
                    before = unwell
                self._note(asked_at, unwell - before)
                await asyncio.sleep(LOOK_SECONDS)

    def _note(self, asked_at: float, unwell: set[str]) -> None:
        if self.began is not None and asked_at >= self.began:
            for one in unwell:
                self.told.setdefault(one, time.monotonic() - self.began)
        if self.ended is not None and asked_at >= self.ended and not unwell - {LINGERING}:
            self.normal_after = self.normal_after or time.monotonic() - self.ended

    async def _look(self, client: httpx.AsyncClient) -> set[str]:
        apis = [part.place.address for part in self.fleet.parts if part.kind == "api"]
        found = await asyncio.gather(
            *(_ask_ready(client, f"http://{address}/readyz") for address in apis),
            _ask_health(client, f"{self.fleet.url}/v1/health"),
        )
        return set[str]().union(*found)


async def _ask_ready(client: httpx.AsyncClient, url: str) -> set[str]:
    try:
        answer = await client.get(url)
    except httpx.HTTPError:
        return {"readyz: no answer"}
    return set() if answer.is_success else {f"readyz: {answer.status_code}"}


async def _ask_health(client: httpx.AsyncClient, url: str) -> set[str]:
    try:
        answer = await client.get(url)
    except httpx.HTTPError:
        return {"health: no answer"}
    if not answer.is_success:
        return {f"health: {answer.status_code}"}
    return {f"{part['name']}: {part['state']}" for part in answer.json()["parts"] if part["state"] != "ok"}
