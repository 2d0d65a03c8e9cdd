"""Trail of a request: what its handling comes to know and the audit of it will say, from wherever that is known.

Arguments are on it by reference, for a digest of them and for nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from nexus_hub.telemetry.events import BatchStored, CallAnswered, JobStored, JobTags, TelemetryEvent


@dataclass(slots=True)
class Trail:
    """The notes of one request."""

    action: str | None = None
    """The action, where the route alone does not say it."""
    arguments: object = None
    target: str | None = None
    server: str | None = None
    server_ref_id: UUID | None = None
    tool: str | None = None
    called_as: str | None = None
    """The name of a bundle that stood for the tool: who called by it is not shown the server."""
    job_id: UUID | None = None
    code: str | None = None
    trace_id: str | None = None


_trail: ContextVar[Trail | None] = ContextVar("trail", default=None)


@contextmanager
def keep_trail() -> Iterator[Trail]:
    """Keep what is noted within the block, also by tasks that it starts."""
    trail = Trail()
    token = _trail.set(trail)
    try:
        yield trail
    finally:
        _trail.reset(token)


def note(**known: object) -> None:
    """Note what is known of the request under way, by the names of a trail's members; without one it is dropped."""
    trail = _trail.get()
    if trail is not None:
        for name, value in known.items():
            setattr(trail, name, value)


def note_event(event: TelemetryEvent) -> None:
    """Note what an event of the request under way says; this is a subscriber."""
    trail = _trail.get()
    if trail is None:
        return
    match event:
        case CallAnswered():
            _note_job(trail, event.job)
            trail.code = event.code
        case JobStored():
            _note_job(trail, event.job)
        case BatchStored():
            trail.target = f"{event.jobs} jobs of batch {event.batch_id}"


def _note_job(trail: Trail, job: JobTags) -> None:
    trail.job_id, trail.server_ref_id, trail.tool = job.job_id, job.server_id, job.tool
