"""Listener for changes of jobs: a connection per process."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args
from uuid import UUID

import psycopg

from nexus_hub.db.pool import KEEP_ALIVE
from nexus_hub.db.queries import load
from nexus_hub.models import TERMINAL, JobStatus
from nexus_hub.telemetry.loops import outlasting

logger = logging.getLogger(__name__)
SESSION = load("session")
DISPATCH = "nexus_dispatch"
RETRY_SECONDS = 1.0
HIGHEST_VERSION = 2**31
"""No job changes that often: a notice with more was forged."""
ChangeEvent = Literal["state", "progress"]


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job's new version and its state then; of an older database's notice only the first three are known."""

    job_id: UUID
    version: int
    status: JobStatus
    user_id: UUID | None = None
    job_type: str | None = None
    attempt: int = 0
    error_code: str | None = None
    event: ChangeEvent = "state"

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Make the last change of a row of `job_results`."""
        members = ("version", "status", "user_id", "job_type", "attempt", "error_code")
        return cls(row["id"], *(row[member] for member in members))

    @property
    def ended(self) -> bool:
        """True if the job has ended with it."""
        return self.status in TERMINAL

    def brief(self) -> dict[str, Any]:
        """Give the change as the API sends it."""
        members = ("version", "status", "job_type", "attempt", "error_code")
        return {"id": str(self.job_id)} | {member: getattr(self, member) for member in members}


async def listen(url: str, on_change: Callable[[JobChange | None], None], on_wake: Callable[[], None]) -> None:
    """Report every change of a job, and every call of `execute_job_via_pg_net`, until cancelled.

    Each time the connection is made, None is reported: changes may have been missed before.
    """
    while True:
        with outlasting("listen"):
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, application_name="nexus-hub listen", connect_timeout=10, **KEEP_ALIVE
            ) as connection:
                await connection.execute(SESSION["listen"])
                on_change(None)
                async for notice in connection.notifies():
                    with outlasting("listen"):  # no notice, whatever it does to whom it is for, costs the next ones
                        if notice.channel == DISPATCH:
                            on_wake()
                        elif (change := _parse(notice.payload)) is not None:
                            on_change(change)
        logger.warning("the connection that listens for jobs was cut; it is made again")
        await asyncio.sleep(RETRY_SECONDS)


def _parse(payload: str) -> JobChange | None:
    """Read a notice as the trigger sends it; None for others, which every role of the database may send."""
    try:
        data = json.loads(payload)
        if data["status"] not in get_args(JobStatus):
            return None
        if not 0 < int(data["version"]) <= HIGHEST_VERSION:
            return None
        owner, code, kind = data.get("user_id"), data.get("error_code"), data.get("job_type")
        return JobChange(
            job_id=UUID(str(data["id"])),
            version=int(data["version"]),
            status=data["status"],
            user_id=None if owner is None else UUID(str(owner)),
            job_type=None if kind is None else str(kind),
            attempt=int(data.get("attempt", 0)),
            error_code=None if code is None else str(code),
            event="progress" if data.get("event") == "progress" else "state",
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
