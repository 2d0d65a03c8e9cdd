"""The ways in which a job comes to a fleet: each is tried, through all outages, until the job is taken."""

import asyncio
import os
import sys
from typing import Any

import httpx
import psycopg

from tests.faults.fleet.place import Place
from tests.faults.fleet.rows import Rows
from tests.faults.fleet.sent import Sent, arguments, tool

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
ANSWER_SECONDS = 15
PAUSE_SECONDS = 0.5


class Ways:
    """Clients of one place."""

    def __init__(self, place: Place, rows: Rows) -> None:
        headers = {"Authorization": f"Bearer {place.key}"}
        self._api = httpx.AsyncClient(base_url=place.url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
        self._place = place
        self._rows = rows
        self._prefect = place.prefect()

    async def close(self) -> None:
        await self._api.aclose()
        await self._prefect.aclose()

    async def send(self, sent: Sent) -> None:
        """Send a job until it is taken."""
        while not await self._try(sent):
            await asyncio.sleep(PAUSE_SECONDS * min(sent.answers.total(), 6))

    async def _try(self, sent: Sent) -> bool:
        try:
            async with asyncio.timeout(2 * ANSWER_SECONDS):
                match sent.way:
                    case "API":
                        return await self._by_api(sent)
                    case "SQL":
                        return await self._by_sql(sent)
                    case "command line":
                        return await self._by_command(sent)
                    case "Prefect":
                        return await self._by_prefect(sent)
        except (httpx.HTTPError, psycopg.Error, TimeoutError) as error:
            sent.answers[type(error).__name__] += 1
            return False

    async def _by_api(self, sent: Sent) -> bool:
        answer = await self._api.post("/v1/jobs", json=sent.planned.request())
        sent.answers[f"POST {answer.status_code}"] += 1
        if answer.status_code == httpx.codes.ACCEPTED:
            sent.ids.add(answer.json()["id"])
            return True
        return False

    async def _by_sql(self, sent: Sent) -> bool:
        await self._rows.insert(sent.planned, None, self._place.servers[sent.planned.kind.server])
        sent.ids.add(str(sent.planned.sql_id))
        return True

    async def _by_command(self, sent: Sent) -> bool:
        planned = sent.planned
        pairs = [word for name, value in arguments(planned).items() for word in ("-a", f"{name}={value}")]
        command = ["call", tool(planned), *pairs, "--no-wait", "--json", "--idempotency-key", planned.tag]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nexus_hub", *command),
            env={name: os.environ[name] for name in KEPT if name in os.environ} | self._place.environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        sent.answers[f"exit {code}"] += 1
        return code == 0

    async def _by_prefect(self, sent: Sent) -> bool:
        planned = sent.planned
        body: dict[str, Any] = {
            "parameters": {"tool": tool(planned), "arguments": arguments(planned)},
            "state": {"type": "SCHEDULED"},
            "idempotency_key": planned.tag,
        }
        answer = await self._prefect.post(f"/deployments/{self._place.deployment}/create_flow_run", json=body)
        sent.answers[f"Prefect {answer.status_code}"] += 1
        return answer.is_success
