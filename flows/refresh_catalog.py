"""Flow `refresh-catalog`: read anew what upstream servers offer."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import table
from flows.maintenance import HOOKS, MaintenanceRun, RunProblem, run_maintenance
from flows.this_run import run_name
from nexus_hub.servers.refresh import Due, RefreshReport
from tasks import catalog

COLUMNS = {
    "server": "server",
    "tools": "tools",
    "resources": "resources",
    "prompts": "prompts",
    "changes": "changes",
    "omitted": "left out",
    "seconds": "seconds",
    "error_code": "error",
}


@flow(
    name="refresh-catalog",
    flow_run_name=lambda: run_name("{server}", otherwise="due"),
    persist_result=False,
    log_prints=False,
    retries=2,
    retry_delay_seconds=30,
    timeout_seconds=1800,
    **HOOKS,
)
async def refresh_catalog(server: str = "", job_id: UUID | None = None) -> "State[None]":
    """Read anew what upstream servers offer: those that are due, or the one that is named.

    What was stored stays, marked stale, while a server is read and when it can't be read.

    Args:
        server: The server's name or id; empty means all that are due.
        job_id: Filled by the hub: the stored row that this run carries out.
    """

    async def steps(run: MaintenanceRun) -> "CatalogReport | None":
        began = time.monotonic()
        due = await catalog.find_due_servers(server)
        if not due:
            return None
        await run.begin({"servers": [one.name for one in due]}, due[0].ref if server else None)
        return CatalogReport(await _refresh_all(run, due), time.monotonic() - began)

    return await run_maintenance("cache_refresh", job_id, steps)


async def _refresh_all(run: MaintenanceRun, due: list[Due]) -> list[RefreshReport]:
    tasks = [asyncio.ensure_future(catalog.refresh_server(one)) for one in due]
    refreshed: list[RefreshReport] = []
    try:
        for task in asyncio.as_completed(tasks):
            refreshed.append(await task)
            await run.on_progress({"done": len(refreshed), "total": len(due)})
    finally:
        for task in tasks:
            task.cancel()
    return sorted(refreshed, key=lambda one: one.name)


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """Report on the servers that were read."""

    servers: list[RefreshReport]
    seconds: float

    def as_result(self) -> dict[str, Any]:
        """Give the row's result."""
        return {"servers": [one.as_row() for one in self.servers]}

    def as_markdown(self) -> str:
        """Write the artifact."""
        rows = table([one.as_row() for one in self.servers], COLUMNS)
        return f"# Catalog\n\n{self.summary()}, in {self.seconds:.1f} s.\n\n{rows}\n"

    def summary(self) -> str:
        """Write the message of the run's state."""
        failing = sum(one.error_code is not None for one in self.servers)
        return f"{len(self.servers) - failing} of {len(self.servers)} servers refreshed, {failing} failing"

    def problem(self) -> RunProblem | None:
        """Name none: a server that can't be read rests, and is tried again."""
        return None
