"""What Prefect says of the flow runs of jobs."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

import httpx

from nexus_hub.orchestration.prefect_client import ENDED, FLOWS

SHARED = "invoke-batch"
PAGE = 200
AGREES = {"completed": {"COMPLETED"}, "cancelled": {"CANCELLED"}, "failed": {"FAILED", "CRASHED"}}
Runs = dict[str, list[dict[str, Any]]]


async def read(prefect: httpx.AsyncClient) -> Runs:
    """The flow runs by the id of their job or shared run, each list in the order of the attempts."""
    found: Runs = {}
    offset = 0
    while True:
        body = {
            "flows": {"name": {"any_": [*FLOWS.values(), SHARED]}},
            "sort": "ID_DESC",
            "limit": PAGE,
            "offset": offset,
        }
        page = (await prefect.post("/flow_runs/filter", json=body)).raise_for_status().json()
        for run in page:
            report = run["parameters"]
            found.setdefault(report.get("job_id") or report.get("batch_id"), []).append(run)
        if len(page) < PAGE:
            break
        offset += PAGE
    for runs in found.values():
        runs.sort(key=lambda run: (run["parameters"].get("attempt", 0), run["created"]))
    return found


async def settled(prefect: httpx.AsyncClient, job_ids: Collection[str], seconds: float) -> Runs:
    """The flow runs once all of these jobs' are over in Prefect too, or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            runs = await read(prefect)
        except httpx.HTTPError:
            assert time.monotonic() < deadline + 60, "Prefect did not come back"
        else:
            if not open_states(runs, job_ids) or time.monotonic() > deadline:
                return runs
        await asyncio.sleep(2)


def open_states(runs: Runs, job_ids: Collection[str]) -> Counter[str]:
    """The states of those runs of these jobs that are not over in Prefect, and of the shared ones."""
    states = (run["state_type"] for key, of_job in runs.items() for run in of_job if key in job_ids or is_shared(run))
    return Counter(state for state in states if state not in ENDED)


def is_shared(run: dict[str, Any]) -> bool:
    """Whether it carries whatever jobs wait in the queue."""
    return "batch_id" in run["parameters"]


def disagreements(runs: Runs, statuses: dict[str, str], last_runs: dict[str, str | None]) -> Counter[str]:
    """How the state of the run that a job's row names, and has for itself, differs from the job's own status."""
    all_runs = {run["id"]: run for of_job in runs.values() for run in of_job}
    states = {run_id: run["state_type"] for run_id, run in all_runs.items()}
    found: Counter[str] = Counter()
    for job_id, status in statuses.items():
        run = last_runs[job_id]
        if run in all_runs and is_shared(all_runs[run]):
            continue
        if run is not None and states.get(run) not in AGREES[status]:
            found[f"{status}, and Prefect says {states.get(run, 'nothing')}"] += 1
    return found
