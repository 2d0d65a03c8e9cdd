"""Schedules of the deployment `invoke-tool`, and the runs that came of them."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

EVERY_SECONDS = 10
PAGE = 200


@dataclass(frozen=True, slots=True)
class Fired:
    """A run of a schedule."""

    id: str
    due: float
    """By the monotonic clock."""
    state: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that calls a tool every few seconds, always with the same tag."""

    prefect: httpx.AsyncClient
    deployment: str
    id: str
    tag: str

    async def fired(self, began: float, ended: float) -> list[Fired]:
        """Read its runs that were due between two moments of the monotonic clock."""
        due = {"after_": _date(began).isoformat(), "before_": _date(ended).isoformat()}
        wanted: dict[str, Any] = {
            "deployments": {"id": {"any_": [self.deployment]}},
            "flow_runs": {"expected_start_time": due},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": PAGE,
        }
        found: list[dict[str, Any]] = []
        while True:
            page = await _post(self.prefect, "/flow_runs/filter", wanted | {"offset": len(found)})
            found += page
            if len(page) < PAGE:
                break
        mine = [run for run in found if (run.get("created_by") or {}).get("id") == self.id]
        return [_fired(run) for run in mine]


async def make(prefect: httpx.AsyncClient, deployment: str, tool: str, tag: str) -> Schedule:
    """Make a schedule that calls the tool with this tag."""
    wanted = {
        "schedule": {"interval": EVERY_SECONDS, "anchor_date": datetime.now(UTC).isoformat()},
        "parameters": {"tool": tool, "arguments": {"tag": tag, "seconds": 0.3}},
        "active": True,
    }
    made = await _post(prefect, f"/deployments/{deployment}/schedules", [wanted])
    return Schedule(prefect, deployment, made[0]["id"], tag)


async def find_deployment(prefect: httpx.AsyncClient, flow: str = "invoke-tool") -> str:
    """Find the id of a flow's deployment."""
    return str((await prefect.get(f"/deployments/name/{flow}/{flow}")).raise_for_status().json()["id"])


async def _post(prefect: httpx.AsyncClient, path: str, body: object, patience: float = 120) -> Any:
    until = time.monotonic() + patience
    while True:
        try:
            return (await prefect.post(path, json=body)).raise_for_status().json()
        except httpx.HTTPError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(1)


def _fired(run: dict[str, Any]) -> Fired:
    due = datetime.fromisoformat(run["expected_start_time"])
    return Fired(run["id"], time.monotonic() - (datetime.now(UTC) - due).total_seconds(), run["state_type"])


def _date(moment: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - moment)
