"""Jobs as rows of `job_results`, which are the truth about them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.db.pool import Database, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, HubError, InvalidRequest, JobEnded, NotFound
from nexus_hub.escape import escape, unescape
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import JobStatus, Principal, ServerRef
from nexus_hub.paging import check_limit, decode, encode, page

JOBS = load("jobs")
ResolvedRequest = tuple[JobRequest, ServerRef, str | None]
"""What is asked for, of which server, and the server's own name of the tool or prompt."""


async def add(
    database: Database,
    principal: Principal,
    request: JobRequest,
    ref: ServerRef,
    name: str | None,
    *,
    flow_run_id: UUID | None = None,
) -> tuple[UUID, bool]:
    """Store a job as pending, with the server's own name of the tool or prompt; its id, and whether it is new.

    Raises:
        Conflict: the idempotency key stands for another request.
    """
    columns = _columns(request, ref, name)
    async with database.transaction(principal) as transaction:
        row = await transaction.one(
            JOBS["insert_job"],
            **columns | {"params": json_parameter(columns["params"])},
            user_id=principal.user_id,
            flow_run_id=flow_run_id,
        )
        if row is not None:
            return row["id"], True
        known = await transaction.one(
            JOBS["job_of_key"], idempotency_key=request.idempotency_key, user_id=principal.user_id
        )
    return _same(known, columns["request_digest"]), False


async def add_batch(
    database: Database, principal: Principal, resolved: Sequence[ResolvedRequest], batch_id: UUID
) -> tuple[list[UUID], int]:
    """Store jobs as pending in a batch, all or none; their ids in order, and how many of them are new.

    Raises:
        Conflict: an idempotency key stands for another request; the message says which job it is.
    """
    rows = [_columns(*one) | {"id": uuid4()} for one in resolved]
    keys = [row["idempotency_key"] for row in rows if row["idempotency_key"] is not None]
    jobs = json_parameter([row | {"id": str(row["id"]), "server_ref_id": str(row["server_ref_id"])} for row in rows])
    async with database.transaction(principal) as transaction:
        stored = await transaction.all(JOBS["insert_jobs"], jobs=jobs, user_id=principal.user_id, batch_id=batch_id)
        new = {row["id"] for row in stored}
        known: dict[str, dict[str, Any]] = {}
        if len(new) < len(rows):
            found = await transaction.all(JOBS["jobs_of_keys"], idempotency_keys=keys, user_id=principal.user_id)
            known = {row["idempotency_key"]: row for row in found}
        ids = []
        for number, row in enumerate(rows):
            with numbered(number):
                same = (
                    row["id"] if row["id"] in new else _same(known.get(row["idempotency_key"]), row["request_digest"])
                )
                ids.append(same)
    return ids, len(new)


def _same(known: dict[str, Any] | None, digest: str) -> UUID:
    """The id of the job that is known under a key."""
    if known is None or known["request_digest"] != digest:
        raise Conflict("This idempotency key stands for another request; use a new key for a new request.")
    job_id: UUID = known["id"]
    return job_id


def _columns(request: JobRequest, ref: ServerRef, name: str | None) -> dict[str, Any]:
    params = {
        "tool_invoke": request.arguments,
        "resource_fetch": {"uri": request.uri},
        "prompt_execute": {"name": name, "arguments": request.arguments},
    }[request.job_type]
    return {
        "job_type": request.job_type,
        "server_type": ref.server_type,
        "server_ref_id": ref.server_ref_id,
        "tool_name": escape(name) if request.job_type == "tool_invoke" else None,
        "params": escape(params),
        "timeout_seconds": request.timeout_seconds,
        "max_attempts": request.max_attempts,
        "retry": request.retry,
        "idempotency_key": request.idempotency_key,
        "request_digest": request.digest(),
    }


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Let an error about one job of several say which one it is about."""
    try:
        yield
    except HubError as error:
        error.args = (f"jobs[{number}]: {error.message}", *error.args[1:])
        raise


async def get(database: Database, principal: Principal, job_id: UUID) -> dict[str, Any]:
    """A job's row, as it was taken and answered.

    Raises:
        NotFound: the principal sees no such job.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(JOBS["get_job"], id=job_id)
    if row is None:
        raise NotFound("job", job_id)
    return readable(row)


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row with what PostgreSQL refused put back."""
    if row.get("params_escaped"):
        row["tool_name"] = unescape(row["tool_name"])
    for column in ("params", "result"):
        if row.pop(f"{column}_escaped", False):
            row[column] = unescape(row[column])
    return row


async def list_jobs(
    database: Database,
    principal: Principal,
    *,
    status: JobStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """A page of jobs, newest first, without params and result: `{"items", "next_cursor"}`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of ours.
    """
    limit = check_limit(limit)
    after_created_at, after_id = decode(cursor, (datetime.fromisoformat, UUID))
    async with database.transaction(principal) as transaction:
        rows = await transaction.all(
            JOBS["list_jobs"],
            all_users=principal.is_operator,
            user_id=principal.user_id,
            status=status,
            after_created_at=after_created_at,
            after_id=after_id,
            limit=limit + 1,
        )
    found = page(rows, limit, lambda row: encode(row["created_at"].isoformat(), row["id"]))
    return {"items": found.items, "next_cursor": found.next_cursor}


async def cancel(database: Database, principal: Principal, job_id: UUID) -> UUID | None:
    """End a job as cancelled; the id of its flow run, if it has one of its own.

    Raises:
        NotFound: the principal sees no such job.
        JobEnded: it has ended already.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(JOBS["cancel_job"], id=job_id)
    if row is None:
        job = await get(database, principal, job_id)
        raise JobEnded(job_id, job["status"])
    flow_run_id: UUID | None = row["flow_run_id"]
    return flow_run_id if row["batch_id"] is None else None


async def cancel_flow_run(database: Database, flow_run_id: UUID) -> int:
    """End whatever a flow run carries and has not ended as cancelled; how many jobs that were."""
    async with database.transaction() as transaction:
        return await transaction.run(JOBS["cancel_flow_run"], flow_run_id=flow_run_id)


def parse_id(text: str) -> UUID:
    """A job's id.

    Raises:
        InvalidRequest: it is no uuid.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(f"{text[:80]!r} is not the id of a job; it must be a uuid.") from None
