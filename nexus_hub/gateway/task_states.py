"""Jobs as tasks: the same row in the words of the tasks extension, and of the core tasks of 2025-11-25."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mcp_types import INTERNAL_ERROR

from nexus_hub.errors import ApprovalNeeded
from nexus_hub.gateway.job_answers import result_of
from nexus_hub.gateway.names import JOB_META
from nexus_hub.gateway.pages import is_over, paginate
from nexus_hub.models import DAYS_COMPLETED, JobStatus

Row = Mapping[str, Any]
Task = dict[str, Any]
EXTENSION = "io.modelcontextprotocol/tasks"
RELATED_TASK = "io.modelcontextprotocol/related-task"
TTL_MS = DAYS_COMPLETED * 24 * 3600 * 1000
"""The time from its making for which a task can be asked after: a clean-up keeps jobs for as long after their end."""
POLL_MS = 1000
LONGEST_STATUS_MESSAGE = 500
_STATUSES: dict[JobStatus, str] = {
    "pending": "working",
    "running": "working",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_RPC_ERROR = re.compile(r"\(JSON-RPC (-?[0-9]{1,9})\): ")
"""The place in the error of a job at which an upstream server's own error code stands."""


def task_of(row: Row, *, waits_for_input: bool = False) -> Task:
    """Describe a job as a task, in the words of the extension."""
    status = _STATUSES[row["status"]]
    if waits_for_input and status == "working":
        status = "input_required"
    message = _status_message(row, status)
    return {
        "taskId": str(row["id"]),
        "status": status,
        **({} if message is None else {"statusMessage": message}),
        "createdAt": _show_time(row["created_at"]),
        "lastUpdatedAt": _show_time(row["completed_at"] or row["started_at"] or row["created_at"]),
        "ttlMs": TTL_MS,
        "pollIntervalMs": POLL_MS,
    }


def detailed_task_of(row: Row, inputs: Mapping[str, Any] | None = None, *, page_characters: int = 0) -> Task:
    """Describe a job with its result, its error, or the questions that wait for an answer."""
    task = task_of(row, waits_for_input=bool(inputs))
    match task["status"]:
        case "completed":
            return task | {"result": tool_result_of(row, page_characters)}
        case "failed":
            return task | {"error": error_of(row)}
        case "input_required":
            return task | {"inputRequests": dict(inputs or {})}
        case _:
            return task


def core_task_of(row: Row, *, waits_for_input: bool = False) -> Task:
    """Describe a job as one of the core tasks of 2025-11-25."""
    task = task_of(row, waits_for_input=waits_for_input)
    return task | {"ttl": task.pop("ttlMs"), "pollInterval": task.pop("pollIntervalMs")}


def tool_result_of(row: Row, page_characters: int) -> dict[str, Any]:
    """Give the result of a completed job as that of its tool, or its first page."""
    result = result_of(row)
    return paginate(result, row["id"], characters=page_characters) if is_over(result, page_characters) else result


def error_of(row: Row) -> dict[str, Any]:
    """Give the JSON-RPC error of a job that failed: its server's own if that refused the request."""
    message = str(row["error"] or "The job failed.")
    own = _RPC_ERROR.search(message) if row["error_code"] == "upstream-rejected" else None
    code = int(own[1]) if own else INTERNAL_ERROR
    return {"code": code, "message": message, "data": {"code": row["error_code"], JOB_META: str(row["id"])}}


def related(result: Mapping[str, Any], job_id: UUID) -> dict[str, Any]:
    """Give a result with the id of its task, which clients of the core tasks look for."""
    meta = result.get("_meta")
    known = meta if isinstance(meta, Mapping) else {}
    return {**result, "_meta": {**known, RELATED_TASK: {"taskId": str(job_id)}}}


def _status_message(row: Row, status: str) -> str | None:
    if status == "failed":
        return str(row["error"] or "The job failed.")[:LONGEST_STATUS_MESSAGE]
    if status != "working":
        return None
    if row["status"] == "pending" and row["error_code"] == ApprovalNeeded.code:
        return "The job waits for a person's yes."
    if row["status"] == "pending":
        return "The job waits for its turn."
    progress = row.get("progress")
    message = progress.get("message") if isinstance(progress, Mapping) else None
    return message[:LONGEST_STATUS_MESSAGE] if isinstance(message, str) and message else None


def _show_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
