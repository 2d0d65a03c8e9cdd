"""The documented monitoring queries, as the views `job_results_stats` and `job_results_alert` answer them."""

from dataclasses import dataclass

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load

MONITORING = load("monitoring")


@dataclass(frozen=True, slots=True)
class JobStats:
    """Counts of jobs in all, in each state and older than 7 days, with the size of the table.

    Exact for small tables; else estimates, but for `pending` and `running`. `table_size` is text, such as `12 MB`.
    """

    total_jobs: int
    completed: int
    failed: int
    pending: int
    running: int
    older_than_7_days: int
    table_size: str


@dataclass(frozen=True, slots=True)
class TableAlert:
    """`OK`, or the documented alert once there are over 1,000,000 rows."""

    status: str
    row_count: int


async def stats(database: Database) -> JobStats:
    """The numbers of the view `job_results_stats`."""
    async with database.transaction() as transaction:
        return await transaction.only(MONITORING["job_results_stats"], JobStats)


async def table_alert(database: Database) -> TableAlert:
    """The alert of the view `job_results_alert`."""
    async with database.transaction() as transaction:
        return await transaction.only(MONITORING["job_results_alert"], TableAlert)
