"""Questions about Prefect itself, as the doctor asks them: its server, its lock, its work pool, its workers.

Raises in all of them:
    PrefectUnavailable: Prefect does not answer, or not to us.
"""

from datetime import datetime
from typing import Any

import httpx

from nexus_hub.orchestration.prefect_client import POOL, PrefectClient, read_answer, read_member


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


async def read_workers(prefect: PrefectClient) -> dict[str, datetime]:
    """The workers of the pool, and when each was last heard of."""
    answer = await prefect.request("POST", f"/work_pools/{POOL}/workers/filter", {})
    workers: list[dict[str, Any]] = read_answer(answer)
    return {one["name"]: datetime.fromisoformat(one["last_heartbeat_time"]) for one in workers}
