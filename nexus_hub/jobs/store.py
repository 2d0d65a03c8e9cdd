"""Jobs as rows of `job_results`, which are the truth about them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from nexus_hub.db.pool import LARGE_BYTES, Database, Transaction, json_parameter, json_text, jsonb_text
from nexus_hub.db.queries import load
from nexus_hub.errors import Conflict, HubError, InvalidRequest, JobEnded, NotFound, TooMany
from nexus_hub.escape import escape, fits_jsonb, unescape
from nexus_hub.jobs.approvals import Ask, ask_for, read_ask
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.jobs.queue import read_waits
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.shown import show_to
from nexus_hub.json_object import JsonObject, escape_text
from nexus_hub.json_text import write
from nexus_hub.models import BundleCall, JobStatus, JobType, Principal, ServerRef, ServerType
from nexus_hub.telemetry import tracing

JOBS = load("jobs")
OPEN_JOBS_RETRY_SECONDS = 10.0
_ADDING: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, UUID], asyncio.Lock] = WeakValueDictionary()
LARGE_RESULT_BYTES = LARGE_BYTES
"""A larger result goes to the database, and comes from there, by itself."""
TakeTurn = Callable[[], Awaitable[None]]
"""Waits for the turn of a large result, which lasts until it is sent."""


async def take_no_turn() -> None:
    """Go on at once."""


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
    client_capabilities: dict[str, Any] | None = None
    """The kinds of questions that its caller can be asked; None: it can't be asked anything."""
    age_ms: float = 0
    """The time since it was stored, at its claim."""
    trace_context: str | None = None
    """Its place in its caller's trace; None: no traces were kept."""
    bundle_entry_id: UUID | None = None
    called_as: str | None = None
    """The name of a bundle by which it was asked for, and the entry that stands for it."""

    @property
    def by_bundle(self) -> BundleCall | None:
        """The call by a name of a bundle that it is; None: it was asked for by its server's."""
        return BundleCall.of(self.bundle_entry_id, self.called_as)

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
class Place:
    """The place of a new job: in the queue or not, and then whether there is a shared run that takes it."""

    queued: bool
    joined: bool


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
    queued: bool = False,
    take_turn: TakeTurn = take_no_turn,
    ask: Ask | None = None,
) -> tuple[dict[str, Any], Place | None]:
    """Store a job as pending, with the server's own name of the tool or prompt; its row, and its place if it is new.

    It waits for a shared run if it is `queued`, or if there is one to join; and for a person's yes, for which it asks.

    Raises:
        Conflict: the idempotency key stands for another request.
        TooMany: a user has that many open jobs already.
    """
    columns = columns_of(request, ref, name)
    text = columns["params_sent"]
    params = jsonb_text(text) if text is not None and fits_jsonb(text) else json_parameter(columns["params"])
    async with _turn_to_add(principal), database.transaction(principal) as transaction:
        transaction.note_size(len(text or b""))
        most_open = await _hold_open_jobs(transaction, principal, most_open)
        row = await transaction.one(
            JOBS["insert_job"],
            **columns | {"params": params, "params_sent": json_text(text)},
            user_id=principal.user_id,
            most_open=most_open,
            client_capabilities=json_parameter(escape(request.client_capabilities)),
            trace_context=tracing.current_traceparent(),
            flow_run_id=flow_run_id,
            queued=queued,
        )
        if row is not None:
            place = Place(queued=row.pop("queued"), joined=row.pop("joined"))
            if ask is not None:
                asked = await ask_for(transaction, principal, [(row["id"], ask)])
                row, place = row | asked[0], Place(queued=False, joined=False)
            return show_to(principal, readable(row)), place
        keys = [request.idempotency_key]
        known = await transaction.one(JOBS["jobs_of_keys"], KeyedJob, idempotency_keys=keys, user_id=principal.user_id)
        if known is None and most_open is not None:
            raise _too_many_open(most_open, 1)
        same = _same(known, columns["request_digest"])
    return await get(database, principal, same, take_turn), None


async def add_batch(
    database: Database,
    principal: Principal,
    resolved: Sequence[ResolvedRequest],
    batch_id: UUID,
    *,
    most_open: int | None = None,
    asks: Sequence[Ask | None] = (),
) -> tuple[list[UUID], int]:
    """Store jobs as pending in a batch, all or none; their ids in order, and how many of them are new.

    Those that ask for a person's yes wait for it, each on its own.

    Raises:
        Conflict: an idempotency key stands for another request; the message says which job it is.
        TooMany: with these jobs a user would have more than that many open ones.
    """
    rows = [columns_of(*one) | {"id": uuid4()} for one in resolved]
    for row in rows:
        row["trace_context"] = tracing.mark("job.create", "producer", {"nexus.job.id": row["id"]})
    keys = [row["idempotency_key"] for row in rows if row["idempotency_key"] is not None]
    params_sent = [json_text(row.pop("params_sent")) for row in rows]
    jobs = json_parameter(
        [
            row | {"number": number, "id": str(row["id"]), "server_ref_id": str(row["server_ref_id"])}
            for number, row in enumerate(rows, start=1)
        ]
    )
    async with _turn_to_add(principal), database.transaction(principal) as transaction:
        transaction.note_size(sum(len(text.obj) for text in params_sent if text))
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
        waiting = [(row["id"], ask) for row, ask in zip(rows, asks, strict=False) if ask and row["id"] in new]
        if waiting:
            await ask_for(transaction, principal, waiting)
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


def columns_of(request: JobRequest, ref: ServerRef, name: str | None) -> dict[str, Any]:
    """Give what is asked for as the columns of its row have it."""
    params = {
        "tool_invoke": request.arguments,
        "resource_fetch": {"uri": request.uri},
        "prompt_execute": {"name": name, "arguments": request.arguments},
    }[request.job_type]
    text = _text_of(params)
    return {
        "job_type": request.job_type,
        "server_type": ref.server_type,
        "server_ref_id": ref.server_ref_id,
        "tool_name": escape(name) if request.job_type == "tool_invoke" else None,
        "params": params if text is not None and fits_jsonb(text) else escape(params),
        "params_sent": text,
        "timeout_seconds": request.timeout_seconds,
        "max_attempts": request.max_attempts,
        "retry": request.retry,
        "idempotency_key": request.idempotency_key,
        "request_digest": request.digest() if request.idempotency_key is not None else None,
        "bundle_entry_id": request.by_bundle and str(request.by_bundle.entry_id),
        "called_as": request.by_bundle and request.by_bundle.called_as,
    }


def _text_of(params: dict[str, Any]) -> bytes | None:
    """Write parameters as they were sent; None if they hold what PostgreSQL can't read out of a json text."""
    try:
        text = write(params)
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


async def get(
    database: Database,
    principal: Principal,
    job_id: UUID,
    take_turn: TakeTurn = take_no_turn,
    *,
    with_waits: bool = False,
    whole: bool = False,
) -> dict[str, Any]:
    """Read a job's row, as it was taken and answered, a large result once it has its turn.

    On request it says also what a pending one `waits` for, and names `server` and `user`. The `whole` of it has the
    server behind a call by a bundle's name, which users are not shown.

    Raises:
        NotFound: the principal sees no such job.
        TooMany: no turn could be had.
    """
    row = await _read(database, principal, job_id, most_bytes=LARGE_RESULT_BYTES, with_waits=with_waits)
    if row["is_large"]:
        await take_turn()
        row = await _read(database, principal, job_id, most_bytes=None, with_waits=with_waits)
    del row["is_large"]
    row = readable(row)
    return row if whole else show_to(principal, row)


async def _read(
    database: Database, principal: Principal, job_id: UUID, *, most_bytes: int | None, with_waits: bool
) -> dict[str, Any]:
    async with database.transaction(principal) as transaction:
        row = await transaction.one(JOBS["get_job"], id=job_id, most_bytes=most_bytes)
        if row is None:
            raise NotFound("job", job_id)
        if with_waits:
            row |= await transaction.one(JOBS["job_names"], id=job_id) or {}
            row["waits"] = await read_waits(transaction, job_id) if row["status"] == "pending" else None
        transaction.note_size(max(len(row["params"] or ""), len(row["result"] or "")))
    if with_waits and row["waits"] and row["waits"]["for"] == "approval":
        ask = await read_ask(database, job_id)
        row["waits"]["approval"] = None if ask is None else asdict(ask)
    return row


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """Put back in a row what PostgreSQL refused; params and result stay texts, and are read only if escaped."""
    for member in ("params", "result"):
        escaped, as_sent = row.pop(f"{member}_escaped"), row.pop(f"{member}_as_sent")
        if member == "params" and escaped:
            row["tool_name"] = unescape(row["tool_name"])
        if row[member] is not None:
            row[member] = _read_text(row[member], escaped=escaped and not as_sent)
    return row


def _read_text(text: str, *, escaped: bool) -> Any:
    """Give a JSON text as it is, if it can be; other programs may have stored what is no object."""
    if text.startswith("{") and not escaped:
        return JsonObject(text.encode())
    value = json.loads(text)
    value = unescape(value) if escaped else value
    return JsonObject.of(value) if isinstance(value, dict) else value


async def cancel(database: Database, principal: Principal, job_id: UUID) -> UUID | None:
    """End a job as cancelled; the id of its flow run, if it has one of its own.

    Raises:
        NotFound: the principal sees no such job.
        JobEnded: it has ended already.
    """
    async with database.transaction(principal) as transaction:
        cancelled = await transaction.one(JOBS["cancel_job"], id=job_id)
    if cancelled is None:
        job = await get(database, principal, job_id)
        raise JobEnded(job_id, job["status"])
    tell_closed([cancelled], "cancelled", "cancelled")
    flow_run_id: UUID | None = cancelled["flow_run_id"]
    return flow_run_id


async def cancel_flow_run(database: Database, flow_run_id: UUID) -> int:
    """End whatever a flow run carries and has not ended as cancelled; how many jobs that were."""
    async with database.transaction() as transaction:
        await transaction.run(JOBS["close_cancelled_run"], flow_run_id=flow_run_id)
        cancelled = await transaction.all(JOBS["cancel_flow_run"], flow_run_id=flow_run_id)
    return tell_closed(cancelled, "cancelled", "cancelled")


def parse_id(text: str) -> UUID:
    """Read a job's id from text.

    Raises:
        InvalidRequest: it is no uuid.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(f"{text[:80]!r} is not the id of a job; it must be a uuid.") from None
