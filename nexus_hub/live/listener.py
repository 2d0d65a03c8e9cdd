"""Listener for changes of jobs and of the catalog: a connection per process."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args
from uuid import UUID

import psycopg

from nexus_hub.db.pool import KEEP_ALIVE
from nexus_hub.db.queries import load
from nexus_hub.models import TERMINAL, JobStatus, ServerRef, ServerType
from nexus_hub.telemetry.loops import outlasting

logger = logging.getLogger(__name__)
SESSION = load("session")
DISPATCH = "nexus_dispatch"
RUNS = "nexus_runs"
CATALOG = "nexus_catalog"
TOKENS = "nexus_tokens"
SESSIONS = "nexus_sessions"
PERMISSIONS = "nexus_permissions"
LISTENS = "nexus-hub listen"
"""The name of the connection, as PostgreSQL shows it."""
RETRY_SECONDS = 1.0
HIGHEST_VERSION = 2**31
"""No job changes that often: a notice with more was forged."""
ChangeEvent = Literal["state", "progress"]
CatalogKind = Literal["tools", "resources", "prompts", "server", "off", "login"]
KINDS: frozenset[CatalogKind] = frozenset(get_args(CatalogKind))
LISTS: frozenset[CatalogKind] = frozenset(("tools", "resources", "prompts", "server"))


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job's new version and its state then; of an older database's notice only the first three are known."""

    job_id: UUID
    version: int
    status: JobStatus
    user_id: UUID | None = None
    job_type: str | None = None
    attempt: int = 0
    error_code: str | None = None
    event: ChangeEvent = "state"
    server_id: str | None = None
    lane: str = "durable"
    queued: bool = False
    """It waits for a shared run, and is due."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Make the last change of a row of `job_results`."""
        members = ("version", "status", "user_id", "job_type", "attempt", "error_code")
        return cls(row["id"], *(row[member] for member in members))

    @property
    def ended(self) -> bool:
        """True if the job has ended with it."""
        return self.status in TERMINAL

    def brief(self) -> dict[str, Any]:
        """Give the change as the API sends it."""
        members = ("version", "status", "job_type", "attempt", "error_code")
        return {"id": str(self.job_id)} | {member: getattr(self, member) for member in members}


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """A server of which something changed that may be listed or called, and its owner (None: it is the system's)."""

    ref: ServerRef
    user_id: UUID | None
    kinds: frozenset[CatalogKind]


async def listen(
    url: str,
    on_change: Callable[[JobChange | None], None],
    on_wake: Callable[[], None],
    on_run: Callable[[], None] = lambda: None,
    on_catalog: Callable[[CatalogChange | None], None] = lambda _: None,
    on_tokens: Callable[[bool], None] = lambda _: None,
    on_session: Callable[[str], None] = lambda _: None,
    on_permissions: Callable[[], None] = lambda: None,
    *,
    name: str = LISTENS,
) -> None:
    """Report changes of jobs, catalog, tokens and permissions, `execute_job_via_pg_net`, shared runs and sessions.

    It goes on until cancelled. Each time the connection is made, None is reported of jobs and of the catalog, and a
    change of permissions: changes may have been missed before. `on_tokens` is told when tokens may have lost their
    worth: False if further notices of that can't be heard.
    """
    while True:
        with outlasting("listen"):
            async with await psycopg.AsyncConnection.connect(
                url, autocommit=True, application_name=name, connect_timeout=10, **KEEP_ALIVE
            ) as connection:
                await connection.execute(SESSION["keep_alive"])
                await connection.execute(SESSION["listen"])
                on_change(None)
                on_catalog(None)
                on_permissions()
                on_tokens(True)
                async for notice in _notices(connection):
                    with outlasting("listen"):  # no notice, whatever it does to whom it is for, costs the next ones
                        if notice.channel == DISPATCH:
                            on_wake()
                        elif notice.channel == RUNS:
                            on_run()
                        elif notice.channel == CATALOG:
                            _tell_catalog(notice.payload, on_catalog)
                        elif notice.channel == TOKENS:
                            on_tokens(True)
                        elif notice.channel == SESSIONS:
                            on_session(notice.payload)
                        elif notice.channel == PERMISSIONS:
                            on_permissions()
                        elif (change := _parse(notice.payload)) is not None:
                            on_change(change)
        on_tokens(False)
        logger.warning("the connection that listens for jobs was cut; it is made again")
        await asyncio.sleep(RETRY_SECONDS)


async def _notices(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[psycopg.Notify]:
    """Give notices as they come.

    Its socket is waited for here: psycopg wakes up ten times a second, an eighth of what an idle process costs.
    """
    loop, socket = asyncio.get_running_loop(), connection.fileno()
    while True:
        async for notice in connection.notifies(timeout=0):
            yield notice
        readable = asyncio.Event()
        loop.add_reader(socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(socket)


def _tell_catalog(payload: str, on_catalog: Callable[[CatalogChange | None], None]) -> None:
    """Report a change of the catalog; an empty notice says that anything may have changed."""
    if not payload:
        on_catalog(None)
    elif (change := _parse_catalog(payload)) is not None:
        on_catalog(change)


def _parse_catalog(payload: str) -> CatalogChange | None:
    """Read a notice as the catalog's triggers send it; None for others, as below."""
    try:
        data = json.loads(payload)
        server_type, owner, kinds = data["server_type"], data["user_id"], frozenset(data["kinds"])
        if server_type not in get_args(ServerType) or not kinds or not isinstance(data["kinds"], list):
            return None
        # A newer release's trigger may name a kind that is not known here: any list of the server may have changed.
        if not kinds <= KINDS:
            kinds = (kinds & KINDS) | LISTS
        ref = ServerRef(server_type, UUID(data["server_ref_id"]))
        return CatalogChange(ref, None if owner is None else UUID(owner), kinds)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _parse(payload: str) -> JobChange | None:
    """Read a notice as the trigger sends it; None for others, which every role of the database may send."""
    try:
        data = json.loads(payload)
        if data["status"] not in get_args(JobStatus):
            return None
        if not 0 < int(data["version"]) <= HIGHEST_VERSION:
            return None
        owner, code, kind = data.get("user_id"), data.get("error_code"), data.get("job_type")
        return JobChange(
            job_id=UUID(str(data["id"])),
            version=int(data["version"]),
            status=data["status"],
            user_id=None if owner is None else UUID(str(owner)),
            job_type=None if kind is None else str(kind),
            attempt=int(data.get("attempt", 0)),
            error_code=None if code is None else str(code),
            event="progress" if data.get("event") == "progress" else "state",
            server_id=None if data.get("server_id") is None else str(data["server_id"]),
            lane="direct" if data.get("lane") == "direct" else "durable",
            queued=data.get("queued") is True,
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
