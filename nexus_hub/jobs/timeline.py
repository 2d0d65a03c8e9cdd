"""Timeline of a job: the moments that its row has kept, and nothing that it has not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import NotFound
from nexus_hub.jobs.lists import JOB_LISTS
from nexus_hub.models import TERMINAL, JobStatus, Principal

TimelineEvent = Literal[
    "stored", "dispatched", "claimed", "sent", "called", "snoozed", "rescued", "handed", "cancel_requested", "ended"
]
RESCUES = {"lease-expired", "run-lost"}
"""Codes of jobs that go on because a worker or a flow run was lost."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a job; `attempt` is None where it belongs to none."""

    at: datetime
    event: TimelineEvent
    attempt: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class JobTimes:
    """The times of a job's row, and what says of which kind they are."""

    status: JobStatus
    attempt: int
    lane: str
    error_code: str | None
    flow_run_id: UUID | None
    is_shared: bool
    created_at: datetime
    dispatched_at: datetime | None
    available_at: datetime
    started_at: datetime | None
    sent_at: datetime | None
    handed_at: datetime | None
    cancel_requested_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The moments of a job in their order, and the flow run that has it, or had it last."""

    items: list[Moment]
    flow_run_id: UUID | None


async def read_timeline(database: Database, principal: Principal, job_id: UUID) -> Timeline:
    """Read the timeline of a job.

    A row keeps one time of each kind: the first start, and of the rest the latest.

    Raises:
        NotFound: the principal sees no such job.
    """
    async with database.transaction(principal) as transaction:
        times = await transaction.one(JOB_LISTS["job_times"], JobTimes, id=job_id)
    if times is None:
        raise NotFound("job", job_id)
    # What shares a moment stays in the order of a job's life.
    return Timeline(sorted(_list_moments(times), key=lambda moment: moment.at), times.flow_run_id)


def _list_moments(job: JobTimes) -> list[Moment]:
    coming = job.attempt + 1 if job.status == "pending" else job.attempt
    run = "a shared run" if job.is_shared or job.flow_run_id is None else "a run of its own"
    is_direct = job.lane == "direct"
    is_over = job.completed_at is not None and job.completed_at < job.available_at  # it did not come to that
    delay, delay_detail = _describe_delay(job)
    found: list[tuple[datetime | None, TimelineEvent, int | None, str | None]] = [
        (job.created_at, "stored", None, None),
        (job.dispatched_at, "dispatched", coming, f"to {run}"),
        (job.available_at if job.created_at < job.available_at and not is_over else None, delay, coming, delay_detail),
        (job.started_at, "called" if is_direct else "claimed", 1, "in the API's process" if is_direct else None),
        (job.sent_at, "sent", job.attempt, None),
        (job.handed_at, "handed", job.attempt, "to its caller, as a job that goes on"),
        (job.cancel_requested_at, "cancel_requested", None, None),
        (job.completed_at, "ended", job.attempt, _describe_end(job)),
    ]
    return [Moment(at, event, attempt, detail) for at, event, attempt, detail in found if at is not None]


def _describe_delay(job: JobTimes) -> tuple[TimelineEvent, str | None]:
    """Describe the last time that a job was put back; the row has from when on it could go on."""
    if job.status in TERMINAL:
        return "snoozed", "until then"
    if job.error_code in RESCUES:
        return "rescued", job.error_code
    return "snoozed", "until then" + (f" ({job.error_code})" if job.error_code else "")


def _describe_end(job: JobTimes) -> str:
    return f"{job.status}: {job.error_code}" if job.error_code else job.status
