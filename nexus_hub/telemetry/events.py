"""Events that matter to whoever runs the hub: ids, codes, counts and milliseconds, and nothing of a call itself.

A field of these classes may hold an id, a code, a number, or the name of a server or a tool. Arguments, results,
addresses, headers, tokens and messages of errors have no place in them.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from nexus_hub.telemetry.text import printable

Value = str | int | float
_BREAKS = re.compile('[ "=]')


@dataclass(frozen=True, slots=True)
class JobTags:
    """The ids by which an event names its job; `tool` is the server's own name of it."""

    job_id: UUID
    attempt: int | None = None
    server_id: UUID | None = None
    server: str | None = None
    """The server's name, where it has been looked up."""
    tool: str | None = None
    user_id: UUID | None = None
    flow_run_id: UUID | None = None
    job_type: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """Root of all events; `name` begins the line, `level` is that of `logging`."""

    name: ClassVar[str] = "event"
    level: ClassVar[int] = logging.INFO

    def fields(self) -> dict[str, Value]:
        """Give what is known of the event, its job's ids among it; names are safe to show."""
        return dict(_flatten(self))

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{name}={_quote(value)}" for name, value in self.fields().items())))


@dataclass(frozen=True, slots=True)
class JobStored(TelemetryEvent):
    """A job was stored; `ms` is the time from the request to its row."""

    name: ClassVar[str] = "stored"
    job: JobTags
    ms: float


@dataclass(frozen=True, slots=True)
class BatchStored(TelemetryEvent):
    """Jobs of one request were stored together."""

    name: ClassVar[str] = "stored"
    batch_id: UUID
    jobs: int
    user_id: UUID | None
    ms: float


@dataclass(frozen=True, slots=True)
class JobDispatched(TelemetryEvent):
    """Prefect was told of a job."""

    name: ClassVar[str] = "dispatched"
    level: ClassVar[int] = logging.DEBUG
    job: JobTags
    ms: float


@dataclass(frozen=True, slots=True)
class RunOpened(TelemetryEvent):
    """Prefect was told of a shared run."""

    name: ClassVar[str] = "opened"
    level: ClassVar[int] = logging.DEBUG
    run_id: UUID
    flow_run_id: UUID
    ms: float


@dataclass(frozen=True, slots=True)
class JobClaimed(TelemetryEvent):
    """A worker has taken a job; `waited_ms` is the time since it was stored, or due, if that is known."""

    name: ClassVar[str] = "claimed"
    job: JobTags
    waited_ms: float | None = None


@dataclass(frozen=True, slots=True)
class CallReturned(TelemetryEvent):
    """A call came back from its server; `code` is the error's, if it failed."""

    name: ClassVar[str] = "called"
    job: JobTags
    ms: float
    code: str | None = None


@dataclass(frozen=True, slots=True)
class CallAnswered(TelemetryEvent):
    """A call of the direct lane was answered: with its result, an error's `code`, or a handle (`handed`).

    `rowless`: no row ends with it, since there is none of its kind, or since somebody else has ended it.
    """

    name: ClassVar[str] = "returned"
    level: ClassVar[int] = logging.DEBUG
    job: JobTags
    ms: float
    code: str | None = None
    handed: bool = False
    rowless: bool = False


@dataclass(frozen=True, slots=True)
class CallsUnrecorded(TelemetryEvent):
    """Calls of the direct lane were answered, and the database was away for too long to keep rows of them."""

    name: ClassVar[str] = "unrecorded"
    level: ClassVar[int] = logging.WARNING
    calls: int


@dataclass(frozen=True, slots=True)
class AuditLost(TelemetryEvent):
    """Entries of the audit were lost: the database was away for too long."""

    name: ClassVar[str] = "unaudited"
    level: ClassVar[int] = logging.WARNING
    entries: int


@dataclass(frozen=True, slots=True)
class AttemptEnded(TelemetryEvent):
    """An attempt has ended; `ms` is the time since its claim, `total_ms` that since its job was stored."""

    name: ClassVar[str] = "ended"
    job: JobTags
    outcome: str
    ms: float
    code: str | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class JobClosed(TelemetryEvent):
    """A job was ended by somebody else than its attempt: cancelled, given up, or a mirror of a flow run that ended."""

    name: ClassVar[str] = "closed"
    level: ClassVar[int] = logging.DEBUG
    job: JobTags
    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class JobRescued(TelemetryEvent):
    """A job whose worker was gone got another attempt, or was failed for want of one."""

    name: ClassVar[str] = "rescued"
    level: ClassVar[int] = logging.WARNING
    job: JobTags
    status: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class CallRefused(TelemetryEvent):
    """A call has to wait for its server's limit, or can't be made."""

    name: ClassVar[str] = "refused"
    job: JobTags
    code: str
    wait_ms: float | None = None


@dataclass(frozen=True, slots=True)
class LimitDecided(TelemetryEvent):
    """A call to a server with a limit was `allowed` or `refused`, or goes `unasked` as the database is away."""

    name: ClassVar[str] = "limited"
    level: ClassVar[int] = logging.DEBUG
    server_id: UUID
    decision: str


@dataclass(frozen=True, slots=True)
class ArgumentsUnchecked(TelemetryEvent):
    """Arguments were not held against the whole of what their tool or prompt declares, since that would take long."""

    name: ClassVar[str] = "unchecked"
    tool: str


@dataclass(frozen=True, slots=True)
class RequestRejected(TelemetryEvent):
    """A request to the API can't be used; `route` is its method and path template, never the path as it was sent."""

    name: ClassVar[str] = "refused"
    route: str
    status: int
    code: str


@dataclass(frozen=True, slots=True)
class ServerRefreshed(TelemetryEvent):
    """A server was read anew; `code` is the error's, if it could not be."""

    name: ClassVar[str] = "refreshed"
    server_id: UUID
    ms: float
    server: str | None = None
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    code: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogChanged(TelemetryEvent):
    """A server offers something else than when it was read before: counts of tools, prompts and resources."""

    name: ClassVar[str] = "changed"
    server_id: UUID
    server: str
    added: int
    changed: int
    removed: int


@dataclass(frozen=True, slots=True)
class CircuitChanged(TelemetryEvent):
    """A server's circuit has opened, for so many seconds, or has closed again."""

    name: ClassVar[str] = "circuit"
    server_id: UUID
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LoginRefreshed(TelemetryEvent):
    """The exchange of a login's tokens has ended: refreshed, refused, or failed, which is tried again."""

    name: ClassVar[str] = "login"
    server_id: UUID
    outcome: str
    ms: float
    server: str | None = None


@dataclass(frozen=True, slots=True)
class KeysRotated(TelemetryEvent):
    """A rotation of the vault's keys, named by their ids, has ended."""

    name: ClassVar[str] = "rotated"
    rotation_id: UUID
    new_key_id: str
    updated: int
    failed: int
    ms: float
    old_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestAnswered(TelemetryEvent):
    """The API has answered a request, or has ended a stream."""

    name: ClassVar[str] = "answered"
    level: ClassVar[int] = logging.DEBUG
    route: str
    status: int
    ms: float


@dataclass(frozen=True, slots=True)
class DefectFound(TelemetryEvent):
    """An error that nobody expected: its class and its place, not its message, which may hold anything."""

    name: ClassVar[str] = "defect"
    level: ClassVar[int] = logging.ERROR
    kind: str
    place: str
    job: JobTags | None = None


@dataclass(frozen=True, slots=True)
class LoopFailed(TelemetryEvent):
    """A loop met an error, which did not end it; `why` is its code, or its class and place."""

    name: ClassVar[str] = "failing"
    level: ClassVar[int] = logging.WARNING
    loop: str
    why: str


def _flatten(part: TelemetryEvent | JobTags) -> Iterator[tuple[str, Value]]:
    for name in part.__match_args__:
        match getattr(part, name):
            case None:
                continue
            case JobTags() as job:
                yield from _flatten(job)
            case int() as value:
                yield name, value
            case float() as value:
                yield name, round(value, 1)
            case value:
                yield name, printable(str(value))


def _quote(value: Value) -> str:
    text = str(value)
    return text if text and not _BREAKS.search(text) else '"' + text.replace('"', '\\"') + '"'
