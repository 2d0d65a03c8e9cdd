"""Clients at `/mcp` that are answered with a handle where a call goes on as a job, and come back for its result."""

from typing import Any

import httpx

from tests.faults.fleet.callers import Caller
from tests.faults.fleet.sent import DirectCall
from tests.fixtures.mcp_wire import MODERN, Answer

WAIT = "hub__job_wait"


class Patient(Caller):
    """A client that does what a handle says."""

    async def _modern(self, call: DirectCall) -> Answer:
        return await self._come_back(MODERN, await super()._modern(call))

    async def _in_session(self, call: DirectCall) -> Answer:
        return await self._come_back(self._wire.version, await super()._in_session(call))

    async def _come_back(self, era: str, answer: Answer) -> Answer:
        while (job := _running_job(answer)) is not None:
            answer = await self._wire.ask(era, "tools/call", {"name": WAIT, "arguments": {"id": job}})
        return answer


def _running_job(answer: Answer) -> str | None:
    """The job that a handle names."""
    if answer.status != httpx.codes.OK or answer.code is not None:
        return None
    said: dict[str, Any] = answer.result.get("structuredContent") or {}
    return (said.get("id") or said.get("job_id")) if said.get("status") in {"pending", "running"} else None
