"""Events that matter to whoever runs the hub: ids, codes, counts and milliseconds, and nothing of a call itself.

A field of these classes may hold an id, a code, a number, or the name of a server or a tool. Arguments, results,
addresses, headers, tokens and messages of errors have no place in them.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar
from uuid import UUID

from nexus_hub.telemetry.text import printable

Value = str | int | float


@dataclass(frozen=True, slots=True)
class JobTags:
    """The ids by which an event names its job; `tool` is the server's own name of it."""

    job_id: UUID
    attempt: int | None = None
    server: str | None = None
    """The server's name, or its id where nobody has looked up the name."""
    tool: str | None = None
    user_id: UUID | None = None
    flow_run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Root of all events; `name` begins the line, `level` is that of `logging`."""

    name: ClassVar[str] = "event"
    level: ClassVar[int] = logging.INFO

    def fields(self) -> dict[str, Value]:
        """Give what is known of the event, its job's ids among it; names are safe to show."""
        return dict(_flatten(self))

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{name}={_quote(value)}" for name, value in self.fields().items())))


@dataclass(frozen=True, slots=True)
class Stored(Event):
    """A job was stored; `ms` is the time from the request to its row."""

    name: ClassVar[str] = "stored"
    job: JobTags
    ms: float


@dataclass(frozen=True, slots=True)
class BatchStored(Event):
    """Jobs that share a flow run were stored together."""

    name: ClassVar[str] = "stored"
    batch_id: UUID
    jobs: int
    user_id: UUID | None
    ms: float


@dataclass(frozen=True, slots=True)
class Dispatched(Event):
    """Prefect was told of a job."""

    name: ClassVar[str] = "dispatched"
    level: ClassVar[int] = logging.DEBUG
    job: JobTags
    ms: float


@dataclass(frozen=True, slots=True)
class BatchDispatched(Event):
    """Prefect was told of a batch."""

    name: ClassVar[str] = "dispatched"
    level: ClassVar[int] = logging.DEBUG
    batch_id: UUID
    jobs: int
    flow_run_id: UUID
    ms: float


@dataclass(frozen=True, slots=True)
class Claimed(Event):
    """A worker has taken a job; `waited_ms` is the time since it was stored, or due, if that is known."""

    name: ClassVar[str] = "claimed"
    job: JobTags
    waited_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Called(Event):
    """A call came back from its server; `code` is the error's, if it failed."""

    name: ClassVar[str] = "called"
    job: JobTags
    ms: float
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """An attempt has ended; `ms` is the time since its claim."""

    name: ClassVar[str] = "ended"
    job: JobTags
    outcome: str
    ms: float
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Rescued(Event):
    """A job whose worker was gone got another attempt, or was failed for want of one."""

    name: ClassVar[str] = "rescued"
    level: ClassVar[int] = logging.WARNING
    job: JobTags
    status: str


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A call over its server's limit has to wait, or a request can't be used."""

    name: ClassVar[str] = "refused"
    code: str
    job: JobTags | None = None
    route: str | None = None
    """Method and path template of a refused request; never the path as it was sent."""
    status: int | None = None
    wait_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Refreshed(Event):
    """A server was read anew; `code` is the error's, if it could not be."""

    name: ClassVar[str] = "refreshed"
    server: str
    server_id: UUID
    ms: float
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Rotated(Event):
    """A rotation of the vault's keys, named by their ids, has ended."""

    name: ClassVar[str] = "rotated"
    rotation_id: UUID
    new_key_id: str
    updated: int
    failed: int
    ms: float
    old_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The API has answered a request, or has ended a stream."""

    name: ClassVar[str] = "answered"
    level: ClassVar[int] = logging.DEBUG
    route: str
    status: int
    ms: float


@dataclass(frozen=True, slots=True)
class Defect(Event):
    """An error that nobody expected: its class and its place, not its message, which may hold anything."""

    name: ClassVar[str] = "defect"
    level: ClassVar[int] = logging.ERROR
    kind: str
    place: str
    job: JobTags | None = None


def _flatten(part: Event | JobTags) -> Iterator[tuple[str, Value]]:
    for field in fields(part):
        match getattr(part, field.name):
            case None:
                continue
            case JobTags() as job:
                yield from _flatten(job)
            case int() as value:
                yield field.name, value
            case float() as value:
                yield field.name, round(value, 1)
            case value:
                yield field.name, printable(str(value))


def _quote(value: Value) -> str:
    text = str(value)
    return text if text and not any(one in ' "=' for one in text) else '"' + text.replace('"', '\\"') + '"'
