"""News of jobs that were ended without their attempts."""

from collections.abc import Sequence
from typing import Any

from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import JobClosed, JobTags


def tell_closed(rows: Sequence[dict[str, Any]], outcome: str, code: str | None) -> int:
    """Tell of jobs that were ended, now that this is committed, by `id`, `job_type` and `server_ref_id`; how many."""
    for row in rows:
        job = JobTags(row["id"], server_id=row["server_ref_id"], job_type=row["job_type"])
        emit(JobClosed(job, outcome, code))
    return len(rows)
