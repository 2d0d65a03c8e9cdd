"""Jobs as rows of `job_results`, which are the truth about them."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from nexus_hub.db.pool import Database, Transaction, json_parameter, json_text
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, HubError, InvalidRequest, JobEnded, NotFound, TooMany
from nexus_hub.escape import escape, unescape
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.json_object import JsonObject, escape_text
from nexus_hub.models import JobStatus, JobType, Principal, ServerRef, ServerType
from nexus_hub.paging import check_limit, decode, encode, page

JOBS = load("jobs")
OPEN_JOBS_RETRY_SECONDS = 10.0
_ADDING: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, UUID], asyncio.Lock] = WeakValueDictionary()
LARGE_RESULT_BYTES = 256 * 1024
"""A larger result goes to the database, and comes from there, by itself."""
ResolvedRequest = tuple[JobRequest, ServerRef, str | None]
"""A request, the server that it goes to, and the server's own name of the tool or prompt."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its claim gives it, with what PostgreSQL refuses put back."""

    id: UUID
    user_id: UUID | None
    job_type: JobType
    server_type: ServerType | None
    server_ref_id: UUID | None
    tool_name: str | None
    params: dict[str, Any] = field(repr=False)
    params_escaped: bool
    params_as_sent: bool
    attempt: int
    max_attempts: int
    timeout_seconds: int | None
    retry: str
    claim_id: UUID
    waited_ms: float
    """The time since it was stored, or due."""

    def __post_init__(self) -> None:
        if self.params_escaped:
            object.__setattr__(self, "params", self.params if self.params_as_sent else unescape(self.params))
            object.__setattr__(self, "tool_name", unescape(self.tool_name))
            object.__setattr__(self, "params_escaped", False)


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job."""

    status: JobStatus
    attempt: int
    available_at: datetime


@dataclass(frozen=True, slots=True)
class KeyedJob:
    """A job that is known under an idempotency key."""

    id: UUID
    idempotency_key: str
    request_digest: str | None


async def add(
    database: Database,
    principal: Principal,
    request: JobRequest,
    ref: ServerRef,
    name: str | None,
    *,
    most_open: int | None = None,
    flow_run_id: UUID | None = None,
) -> tuple[dict[str, Any], bool]:
    """Store a job as pending, with the server's own name of the tool or prompt; its row, and whether it is new.

    Raises:
        Conflict: the idempotency key stands for another request.
        TooMany: a user has that many open jobs already.
    """
    columns = _columns(request, ref, name)
    async with _turn_to_add(principal), database.transaction(principal) as transaction:
        most_open = await _hold_open_jobs(transaction, principal, most_open)
        row = await transaction.one(
            JOBS["insert_job"],
            **columns | {"params": json_parameter(columns["params"]), "params_sent": json_text(columns["params_sent"])},
            user_id=principal.user_id,
            most_open=most_open,
            flow_run_id=flow_run_id,
        )
        if row is not None:
            return readable(row), True
        keys = [request.idempotency_key]
        known = await transaction.one(JOBS["jobs_of_keys"], KeyedJob, idempotency_keys=keys, user_id=principal.user_id)
        if known is None and most_open is not None:
            raise _too_many_open(most_open, 1)
        return readable(await transaction.only(JOBS["get_job"], id=_same(known, columns["request_digest"]))), False


async def add_batch(
    database: Database,
    principal: Principal,
    resolved: Sequence[ResolvedRequest],
    batch_id: UUID,
    *,
    most_open: int | None = None,
) -> tuple[list[UUID], int]:
    """Store jobs as pending in a batch, all or none; their ids in order, and how many of them are new.

    Raises:
        Conflict: an idempotency key stands for another request; the message says which job it is.
        TooMany: with these jobs a user would have more than that many open ones.
    """
    rows = [_columns(*one) | {"id": uuid4()} for one in resolved]
    keys = [row["idempotency_key"] for row in rows if row["idempotency_key"] is not None]
    params_sent = [json_text(row.pop("params_sent")) for row in rows]
    jobs = json_parameter(
        [
            row | {"number": number, "id": str(row["id"]), "server_ref_id": str(row["server_ref_id"])}
            for number, row in enumerate(rows, start=1)
        ]
    )
    async with _turn_to_add(principal), database.transaction(principal) as transaction:
        most_open = await _hold_open_jobs(transaction, principal, most_open)
        new = set(
            await transaction.all(
                JOBS["insert_jobs"],
                UUID,
                jobs=jobs,
                params_sent=params_sent,
                user_id=principal.user_id,
                batch_id=batch_id,
                most_open=most_open,
            )
        )
        known: dict[str, KeyedJob] = {}
        if len(new) < len(rows):
            found = await transaction.all(
                JOBS["jobs_of_keys"], KeyedJob, idempotency_keys=keys, user_id=principal.user_id
            )
            known = {job.idempotency_key: job for job in found}
            if most_open is not None and not new and any(row["idempotency_key"] not in known for row in rows):
                raise _too_many_open(most_open, len(rows))
        ids = []
        for number, row in enumerate(rows):
            with numbered(number):
                same = (
                    row["id"] if row["id"] in new else _same(known.get(row["idempotency_key"]), row["request_digest"])
                )
                ids.append(same)
    return ids, len(new)


def _turn_to_add(principal: Principal) -> AbstractAsyncContextManager[None]:
    """Wait for this user's other jobs to be added without holding a connection meanwhile."""
    if principal.user_id is None:
        return nullcontext()
    return _ADDING.setdefault((asyncio.get_running_loop(), principal.user_id), asyncio.Lock())


async def _hold_open_jobs(transaction: Transaction, principal: Principal, most_open: int | None) -> int | None:
    """Let one transaction at a time count and add to a user's open jobs; None where they are not bounded."""
    if principal.is_operator or most_open is None:
        return None
    await transaction.run(JOBS["hold_open_jobs"], user_id=principal.user_id)
    return most_open


def _too_many_open(most_open: int, asked: int) -> TooMany:
    more = "another" if asked == 1 else f"{asked} more"
    return TooMany(
        "NEXUS_USER_OPEN_JOBS",
        f"A user may have {most_open} jobs that are pending or running, and you would have more with {more}; "
        "wait until some have ended, or cancel some.",
        retry_after=OPEN_JOBS_RETRY_SECONDS,
    )


def _same(known: KeyedJob | None, digest: str) -> UUID:
    """Give the id of the job that is known under a key, if it is of the same request."""
    if known is None or known.request_digest != digest:
        raise Conflict("This idempotency key stands for another request; use a new key for a new request.")
    return known.id


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
        "params_sent": _text_of(params),
        "timeout_seconds": request.timeout_seconds,
        "max_attempts": request.max_attempts,
        "retry": request.retry,
        "idempotency_key": request.idempotency_key,
        "request_digest": request.digest(),
    }


def _text_of(params: dict[str, Any]) -> bytes | None:
    """Write parameters as they were sent; None if they hold what PostgreSQL can't read out of a json text."""
    try:
        text = json.dumps(params, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return None
    return text if escape_text(text) is None else None


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Let an error about one job of several say which one it is about."""
    try:
        yield
    except HubError as error:
        error.args = (f"jobs[{number}]: {error.message}", *error.args[1:])
        raise


async def get(database: Database, principal: Principal, job_id: UUID) -> dict[str, Any]:
    """Read a job's row, as it was taken and answered.

    Raises:
        NotFound: the principal sees no such job.
    """
    async with database.transaction(principal) as transaction:
        row = await transaction.one(JOBS["get_job"], id=job_id)
        transaction.is_large = row is not None and len(row["result"] or "") > LARGE_RESULT_BYTES
    if row is None:
        raise NotFound("job", job_id)
    return readable(row)


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """Put back in a row what PostgreSQL refused; a result stays a text, and is read only where it was escaped."""
    if row.pop("params_escaped", False):
        row["tool_name"] = unescape(row["tool_name"])
        if not row["params_as_sent"]:
            row["params"] = unescape(row["params"])
    row.pop("params_as_sent")
    escaped, as_sent = row.pop("result_escaped"), row.pop("result_as_sent")
    if row["result"] is not None:
        row["result"] = _read_result(row["result"], escaped=escaped and not as_sent)
    return row


def _read_result(text: str, *, escaped: bool) -> Any:
    """Give a result as its text, if it can be; other programs may have stored what is no object."""
    if text.startswith("{") and not escaped:
        return JsonObject(text.encode())
    value = json.loads(text)
    value = unescape(value) if escaped else value
    return JsonObject.of(value) if isinstance(value, dict) else value


async def list_jobs(
    database: Database,
    principal: Principal,
    *,
    status: JobStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Read a page of jobs, newest first, without params and result: `{"items", "next_cursor"}`.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of ours.
    """
    limit = check_limit(limit)
    after_created_at, after_id = decode(cursor, (datetime.fromisoformat, UUID))
    async with database.transaction(principal, bounded=True) as transaction:
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


@dataclass(frozen=True, slots=True)
class CancelledJob:
    """A job that was just cancelled, with the flow run that carries it, and the batch whose run that is."""

    flow_run_id: UUID | None
    batch_id: UUID | None


async def cancel(database: Database, principal: Principal, job_id: UUID) -> UUID | None:
    """End a job as cancelled; the id of its flow run, if it has one of its own.

    Raises:
        NotFound: the principal sees no such job.
        JobEnded: it has ended already.
    """
    async with database.transaction(principal) as transaction:
        cancelled = await transaction.one(JOBS["cancel_job"], CancelledJob, id=job_id)
    if cancelled is None:
        job = await get(database, principal, job_id)
        raise JobEnded(job_id, job["status"])
    return cancelled.flow_run_id if cancelled.batch_id is None else None


async def cancel_flow_run(database: Database, flow_run_id: UUID) -> int:
    """End whatever a flow run carries and has not ended as cancelled; how many jobs that were."""
    async with database.transaction() as transaction:
        return await transaction.run(JOBS["cancel_flow_run"], flow_run_id=flow_run_id)


def parse_id(text: str) -> UUID:
    """Read a job's id from text.

    Raises:
        InvalidRequest: it is no uuid.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(f"{text[:80]!r} is not the id of a job; it must be a uuid.") from None
