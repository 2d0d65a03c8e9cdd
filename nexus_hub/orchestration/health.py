"""Questions about Prefect itself, as the doctor asks them: its server, its lock, its work pool, its workers.

Raises in all of them:
    PrefectUnavailable: Prefect does not answer, or not to us.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from nexus_hub.errors import PrefectUnavailable
from nexus_hub.orchestration.prefect_client import (
    MAINTENANCE_FLOWS,
    NOT_PREFECT,
    POOL,
    PrefectClient,
    read_answer,
    read_member,
)

RUNS_LOOKED_AT = 20
"""Runs among which one of the schedule is looked for; people and the worker ask for some, too."""


async def read_version(prefect: PrefectClient) -> str:
    """The version of Prefect's server, which it tells only to those who authenticate."""
    return str(read_answer(await prefect.request("GET", "/admin/version")))


async def refuses_strangers(prefect: PrefectClient) -> bool:
    """True if Prefect's API turns away a request without credentials."""
    async with PrefectClient(prefect.url, None) as stranger:
        answer = await stranger.request("POST", "/deployments/filter", {"limit": 1})
    return answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}


async def read_pool_type(prefect: PrefectClient) -> str | None:
    """The type of the work pool `nexus`; None if there is no such pool."""
    answer = await prefect.request("GET", f"/work_pools/{POOL}")
    return None if answer.status_code == httpx.codes.NOT_FOUND else read_member(read_answer(answer), "type")


async def read_workers(prefect: PrefectClient) -> dict[str, float]:
    """The workers of the pool, and the seconds since each was last heard of."""
    answer = await prefect.request("POST", f"/work_pools/{POOL}/workers/filter", {})
    workers: list[dict[str, Any]] = read_answer(answer)
    now = prefect.clock.now()
    heard = {one["name"]: datetime.fromisoformat(one["last_heartbeat_time"]) for one in workers}
    return {name: (now - at).total_seconds() for name, at in heard.items()}


@dataclass(frozen=True, slots=True)
class RunSchedule:
    """The runs that Prefect's scheduler makes of the flow that is due most often.

    `age_seconds` is the time since the newest one was due, None if none ever was; `horizon_seconds` tells how far
    ahead there are runs. A scheduler that lives keeps an hour's worth ready; Prefect's own probes see no dead one.
    """

    age_seconds: float | None
    horizon_seconds: float


async def read_schedule(prefect: PrefectClient) -> RunSchedule:
    """Read how far the schedule reaches, and when it was last due, by Prefect's own clock."""
    answer = await _ask_for_runs(prefect)
    now, last = prefect.clock.now(), _read_newest(answer)
    due = _read_newest(await _ask_for_runs(prefect, {"before_": now.isoformat()}))
    return RunSchedule(
        None if due is None else max((now - due).total_seconds(), 0.0),
        0.0 if last is None else max((last - now).total_seconds(), 0.0),
    )


async def _ask_for_runs(prefect: PrefectClient, expected: dict[str, str] | None = None) -> httpx.Response:
    wanted = {
        "flows": {"name": {"any_": [MAINTENANCE_FLOWS["cache_refresh"]]}},
        "flow_runs": {"expected_start_time": expected} if expected else {},
        "sort": "EXPECTED_START_TIME_DESC",
        "limit": RUNS_LOOKED_AT,
    }
    return await prefect.request("POST", "/flow_runs/filter", wanted)


def _read_newest(answer: httpx.Response) -> datetime | None:
    """Find when the newest run that the schedule has made is due; others may have asked for some in between."""
    runs = read_answer(answer)
    try:
        times = (run["expected_start_time"] for run in runs if run["auto_scheduled"])
        found = next((time for time in times if time), None)
    except (KeyError, TypeError):
        raise PrefectUnavailable(NOT_PREFECT) from None
    return None if found is None else datetime.fromisoformat(found)
