"""Flows that look after the hub, started by the API: a row first, then the flow run, then a while of waiting."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import MaintenanceFailed, PrefectUnavailable
from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR, TERMINAL
from nexus_hub.orchestration.mirror import Kind, Mirror
from nexus_hub.orchestration.prefect_client import MAINTENANCE_FLOWS
from nexus_hub.orchestration.prefect_runs import PrefectRuns

RESULT_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that was dispatched; `result` once it has come to its end."""

    job_id: UUID
    flow_run_id: UUID
    result: dict[str, Any] | None = None


class Maintenance:
    """Starts runs of maintenance flows, and waits `patience` seconds for each."""

    def __init__(
        self, database: Database, mirror: Mirror, prefect_client: PrefectRuns, *, patience: float = RESULT_WAIT_SECONDS
    ) -> None:
        self._database = database
        self._mirror = mirror
        self._prefect_client = prefect_client
        self.patience = patience

    async def run(self, kind: Kind, name: str, parameters: dict[str, Any]) -> StartedRun:
        """Start a run and wait for its result; the parameters are stored by Prefect.

        Raises:
            PrefectUnavailable: it could not be started; its row says so.
            MaintenanceFailed: it failed or was cancelled.
        """
        job_id = await self.announce(kind, parameters)
        flow_run_id = await self.start(kind, name, parameters, job_id)
        return StartedRun(job_id, flow_run_id, await self._wait_for_result(job_id))

    async def announce(self, kind: Kind, parameters: dict[str, Any]) -> UUID:
        """Store the row of a run that is about to be started; its id."""
        return await self._mirror.add(kind, parameters)

    async def start(self, kind: Kind, name: str, parameters: dict[str, Any], job_id: UUID) -> UUID:
        """Start a run that was announced, and leave it to itself; the id of its flow run.

        Raises:
            PrefectUnavailable: it could not be started; its row says so.
        """
        try:
            flow_run_id = await self._prefect_client.start_run(
                MAINTENANCE_FLOWS[kind],
                f"{name} {str(job_id)[:4]}",
                parameters | {"job_id": str(job_id)},
                idempotency_key=str(job_id),
            )
        except PrefectUnavailable as error:
            await self._mirror.fail(job_id, error.code, error.message)
            raise
        await self._mirror.note_dispatch(job_id, flow_run_id)
        return flow_run_id

    async def _wait_for_result(self, job_id: UUID) -> dict[str, Any] | None:
        until = time.monotonic() + self.patience
        while True:
            job = await store.get(self._database, OPERATOR, job_id)
            if job["status"] in TERMINAL:
                break
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(_POLL_SECONDS)
        if job["result"] is None:
            raise MaintenanceFailed(job["error_code"] or job["status"], job["error"] or f"The run was {job['status']}.")
        result: dict[str, Any] = job["result"]
        return result
