"""Answers about jobs, as a model reads them: a call that goes on, a job that runs, and how one ended."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from nexus_hub.errors import ApprovalNeeded
from nexus_hub.gateway.job_calls import KnownCall
from nexus_hub.gateway.names import CANCEL_TOOL, JOB_META, LIST_TOOL, RESULT_TOOL, WAIT_TOOL
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import read, write

Answer = dict[str, Any]
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_ENVELOPE = ("resultType", "ttlMs", "cacheScope")
"""Members of a result that are between two sides and not of the result itself."""


def handle(
    job_id: UUID,
    tool: str,
    seconds: float,
    *,
    wait_seconds: float,
    has_output_schema: bool,
    ask: str | None = None,
) -> Answer:
    """Make the answer to a call that goes on as a job; `ask` says who has to say yes to it first.

    A tool that declares an output schema promises structured content of that form, and clients of the SDKs refuse a
    result that breaks the promise unless it is an error: so there the answer is one, without structured content.
    """
    wait = {"id": str(job_id), "seconds": round(wait_seconds)}
    if ask is None:
        state = f"{tool} has run for {show_seconds(seconds)} and goes on as job {job_id}."
    else:
        state = f"a person has to say yes to this call of {tool} first, and job {job_id} waits for that: {ask}."
    text = (
        f"This is not the result yet: {state} "
        f"To get its result, call {WAIT_TOOL} with {show(wait)}, and again as long as it says that the job still runs. "
        f"To stop the job, call {CANCEL_TOOL} with {show({'id': str(job_id)})}. "
        f"Do not call {tool} again for this: that would do the work a second time."
    )
    job = describe(job_id, tool, "running" if ask is None else "pending", seconds)
    return _about(job, text, WAIT_TOOL, wait, is_error=has_output_schema, structured=not has_output_schema)


def still_open(call: KnownCall, row: Mapping[str, Any], wait_seconds: float) -> Answer:
    """Make the answer about a job that has not ended."""
    wait = {"id": str(call.id), "seconds": round(wait_seconds)}
    seconds = show_seconds(call.seconds)
    if call.status == "pending" and row.get("error_code") == ApprovalNeeded.code:
        state = f"Job {call.id} ({call.tool}) has not begun: it waits for a person's yes, since {seconds} ago."
    elif call.status == "pending":
        state = f"Job {call.id} ({call.tool}) has not ended: it waits for its turn, since {seconds} ago."
    else:
        state = f"Job {call.id} ({call.tool}) still runs, for {seconds} by now."
    progress = row.get("progress")
    text = (
        f"{state}{_show_progress(progress)} Call {WAIT_TOOL} with {show(wait)} to wait for its result, "
        f"or {CANCEL_TOOL} with {show({'id': str(call.id)})} to stop it."
    )
    job = describe(call.id, call.tool, call.status, call.seconds) | ({"progress": progress} if progress else {})
    return _about(job, text, WAIT_TOOL, wait)


def ended(call: KnownCall, row: Mapping[str, Any]) -> Answer:
    """Make the answer about a job that has ended: its result as its server gave it, or why there is none."""
    if call.status == "completed" and isinstance(row["result"], Mapping):
        result = result_of(row)
        meta = result.get("_meta")
        return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), JOB_META: str(call.id)}}
    if call.status == "cancelled":
        text = f"Job {call.id} ({call.tool}) was cancelled, {show_seconds(call.seconds)} after its beginning."
    else:
        text = f"Job {call.id} ({call.tool}) failed ({row['error_code'] or 'failed'}). {row['error'] or ''}".rstrip()
        if row["error_code"] == "outcome-unknown":
            text += f" Find out if it had its effect before you call {call.tool} again."
    job = describe(call.id, call.tool, call.status, call.seconds) | {"error_code": row["error_code"]}
    return _about(job, text, is_error=True)


def cancelled(call: KnownCall) -> Answer:
    """Make the answer to a caller that has cancelled a job."""
    text = f"Job {call.id} ({call.tool}) is cancelled; its server was told. What it has done by then stays done."
    return _about(describe(call.id, call.tool, "cancelled", call.seconds), text)


def listing(jobs: list[dict[str, Any]], next_cursor: str | None) -> Answer:
    """Make the answer that lists jobs."""
    lines = [
        f"{job['id']}  {job['status']:<9}  {job['tool']}  {show_seconds(job['seconds'])}"
        + (f"  {job['error_code']}" if job["error_code"] else "")
        for job in jobs
    ]
    text = "\n".join(lines) or "There are no such jobs."
    if next_cursor is not None:
        text += f"\nThere are more: call {LIST_TOOL} with the same filters and {show({'cursor': next_cursor})}."
    elif lines:
        text += f"\nThat is all. {RESULT_TOOL} with an id gives the result of a job that has ended."
    structured: Answer = {"jobs": jobs} | ({} if next_cursor is None else {"nextCursor": next_cursor})
    return {"content": [_text(text)], "structuredContent": structured}


def failure(message: str, code: str) -> Answer:
    """Make the answer to a call of one of the hub's own tools that can't be done."""
    return {"content": [_text(message)], "isError": True, "_meta": {"nexus-hub/error": {"code": code}}}


def result_of(row: Mapping[str, Any]) -> Answer:
    """Give a completed job's result in the form of a tool's: of a resource or a prompt, as embedded blocks."""
    result = strip_envelope(row["result"])
    if row["job_type"] == "resource_fetch":
        contents = result.get("contents")
        blocks = [{"type": "resource", "resource": one} for one in contents] if isinstance(contents, list) else []
        return {"content": blocks}
    if row["job_type"] == "prompt_execute":
        return {"content": [_text(write(result).decode())]}
    return result


def strip_envelope(result: Mapping[str, Any]) -> dict[str, Any]:
    """Give a result less what was said between the hub and its server: its era's members, and who answered."""
    members = read(result.text) if isinstance(result, JsonObject) else result
    plain = {name: value for name, value in members.items() if name not in _ENVELOPE}
    meta = plain.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO in meta:
        rest = {name: value for name, value in meta.items() if name != SERVER_INFO}
        del plain["_meta"]
        plain |= {"_meta": rest} if rest else {}
    return plain


def describe(job_id: UUID, tool: str, status: str, seconds: float) -> dict[str, Any]:
    """Describe a job in structured content."""
    return {"id": str(job_id), "tool": tool, "status": status, "seconds": round(seconds, 1)}


def show(arguments: Mapping[str, Any]) -> str:
    """Write arguments as a model is to repeat them."""
    return write(dict(arguments), separators=(", ", ": ")).decode()


def show_seconds(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _show_progress(progress: Any) -> str:
    if not isinstance(progress, Mapping) or progress.get("progress") is None:
        return ""
    total = progress.get("total")
    words = f" Progress: {progress['progress']:g}" + (f" of {total:g}" if isinstance(total, int | float) else "")
    message = progress.get("message")
    return f"{words}. Its server says: {message!r}." if isinstance(message, str) and message else f"{words}."


def _about(
    job: dict[str, Any],
    text: str,
    tool: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    is_error: bool = False,
    structured: bool = True,
) -> Answer:
    """Make an answer that says the same as text, as structured content, and for programs in `_meta`."""
    answer: Answer = {"content": [_text(text)]}
    if structured:
        answer["structuredContent"] = {**job, "message": text}
        if tool is not None:
            answer["structuredContent"]["next"] = {"tool": tool, "arguments": dict(arguments or {})}
    return answer | ({"isError": True} if is_error else {}) | {"_meta": {JOB_META: job["id"]}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
