"""From a request to a stored job that Prefect is told of."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.dispatch import Dispatcher
from nexus_hub.errors import DatabaseUnavailable, PrefectUnavailable
from nexus_hub.jobs import store
from nexus_hub.jobs.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers import registry


@dataclass(frozen=True, slots=True)
class Handover:
    """What Prefect is told of a job: ids and a name for its run."""

    job_id: UUID
    attempt: int
    job_type: str
    name: str


async def resolve(database: Database, principal: Principal, request: JobRequest) -> tuple[ServerRef, str | None]:
    """The server that a request goes to, and its own name of the tool or prompt.

    Raises:
        NotFound: the principal sees no such tool, prompt or server.
        InvalidArguments: the arguments do not fit.
    """
    request.check()
    if request.job_type == "resource_fetch":
        server = await registry.find(database, principal, request.name)
        return ServerRef(server["server_type"], server["id"]), None
    kind: read.NamedKind = "tool" if request.job_type == "tool_invoke" else "prompt"
    entry = await read.find(database, principal, kind, request.name)
    ref = ServerRef(entry["server_type"], entry["server_ref_id"])
    if kind == "tool":
        check_tool_arguments(request.name, entry["definition"].get("inputSchema") or {}, request.arguments)
    else:
        check_prompt_arguments(request.name, entry["definition"], request.arguments)
    return ref, entry["name"]


async def submit(
    database: Database, principal: Principal, request: JobRequest, *, flow_run_id: UUID | None = None
) -> tuple[UUID, bool]:
    """Check and store a request; the job's id, and whether it is new. Nothing is stored of a bad one.

    Raises:
        NotFound, InvalidRequest, InvalidArguments, TooLarge: the request can't be used.
        Conflict: the idempotency key stands for another request.
    """
    ref, name = await resolve(database, principal, request)
    return await store.add(database, principal, request, ref, name, flow_run_id=flow_run_id)


async def hand_over(database: Database, dispatcher: Dispatcher, handover: Handover) -> bool:
    """Tell Prefect of a job and note its flow run; False if that has to wait for the sweep."""
    try:
        flow_run_id = await dispatcher.start(handover.job_type, handover.name, handover.job_id, handover.attempt)
        async with database.transaction() as transaction:
            await transaction.run(
                store.JOBS["mark_dispatched"],
                id=handover.job_id,
                attempt=handover.attempt,
                flow_run_id=flow_run_id,
            )
    except (PrefectUnavailable, DatabaseUnavailable):
        return False
    return True


class Handovers:
    """Tells Prefect of new jobs in the background, a few at a time; the sweep finds what it misses."""

    def __init__(self, database: Database, dispatcher: Dispatcher, *, at_once: int = 8) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, handover: Handover) -> None:
        """Hand a job over soon."""
        task = asyncio.create_task(self._run(handover))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handover: Handover) -> None:
        async with self._slots:
            await hand_over(self._database, self._dispatcher, handover)

    async def drain(self) -> None:
        """Wait until all that were started are done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
