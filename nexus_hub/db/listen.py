"""One connection per process that listens for changes of jobs."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg

from nexus_hub.db.queries import load

logger = logging.getLogger(__name__)
SESSION = load("session")
DISPATCH = "nexus_dispatch"
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job's new version and status."""

    job_id: UUID
    version: int
    status: str


async def listen(url: str, changed: Callable[[JobChange | None], None], asked: Callable[[], None]) -> None:
    """Tell of every change of a job, and of every call of `execute_job_via_pg_net`, until cancelled.

    Each time the connection is made, None is told: changes may have been missed before.
    """
    while True:
        with suppress(psycopg.Error, OSError):
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, application_name="nexus-hub listen", connect_timeout=10
            ) as connection:
                await connection.execute(SESSION["listen"])
                changed(None)
                async for notice in connection.notifies():
                    if notice.channel == DISPATCH:
                        asked()
                    elif (change := _parsed(notice.payload)) is not None:
                        changed(change)
        logger.warning("the connection that listens for jobs was lost; it is made again")
        await asyncio.sleep(RETRY_SECONDS)


def _parsed(payload: str) -> JobChange | None:
    try:
        data = json.loads(payload)
        return JobChange(UUID(str(data["id"])), int(data["version"]), str(data["status"]))
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None
