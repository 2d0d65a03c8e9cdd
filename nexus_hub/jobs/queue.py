"""Views of what waits: of one job, and of all that is open, user by user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.models import MOST_AHEAD, Principal

QUEUE = load("queue")
MOST_JOBS = 10_000
"""So many pending jobs of a user are counted."""
MOST_USERS = 1000
MOST_RUNS = 100


@dataclass(frozen=True, slots=True)
class UserQueue:
    """The open jobs of a user, or of the operator, who has no id and no name.

    Jobs that are `waiting` could begin now, the oldest since `oldest_seconds`; those for `later` have to wait for their
    time. `more`: no more of them were counted.
    """

    user_id: UUID | None
    name: str | None
    waiting: int
    oldest_seconds: float | None
    later: int
    running: int
    more: bool


@dataclass(frozen=True, slots=True)
class QueueReport:
    """The open jobs of all users that the principal sees, and the flow runs of the shared runs that take jobs.

    `more`: there are further users.
    """

    waiting: int
    later: int
    running: int
    runs: Sequence[UUID]
    users: Sequence[UserQueue]
    more: bool


async def read_waits(transaction: Transaction, job_id: UUID) -> dict[str, Any] | None:
    """Read what a pending job waits for: `{"for", "position", "running", "until", "reason"}`."""
    return await transaction.one(QUEUE["job_waits"], id=job_id, most_ahead=MOST_AHEAD)


async def read_queue(database: Database, principal: Principal) -> QueueReport:
    """Read who has open jobs, whoever has waited longest first; a user sees its own.

    Raises:
        TookTooLong: there are too many.
    """
    seen = {"all_users": principal.is_operator, "user_id": principal.user_id}
    async with database.transaction(principal, bounded=True) as transaction:
        # The operator is looked for, too, and may have no jobs.
        users = await transaction.all(
            QUEUE["queues"], UserQueue, **seen, most_users=MOST_USERS + 2, most_jobs=MOST_JOBS
        )
        runs = await transaction.all(QUEUE["open_runs"], UUID, **seen, limit=MOST_RUNS)
    shown = users[:MOST_USERS]
    return QueueReport(
        waiting=sum(user.waiting for user in shown),
        later=sum(user.later for user in shown),
        running=sum(user.running for user in shown),
        runs=runs,
        users=shown,
        more=len(users) > len(shown),
    )
