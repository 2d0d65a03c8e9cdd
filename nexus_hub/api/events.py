"""`/v1/jobs/events` and `/v1/jobs/{id}/events`: live status as server-sent events."""

import re
import time
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import StreamingResponse

from nexus_hub.api.access import Asking, LanesOf, LargeTurn, RuntimeOf
from nexus_hub.api.admission import is_still_allowed
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import JobId
from nexus_hub.api.rows import write_row
from nexus_hub.jobs import store
from nexus_hub.live import streams
from nexus_hub.live.listener import JobChange
from nexus_hub.models import Principal

KEEP_ALIVE_SECONDS = 10.0
_KEEP_ALIVE = b": keep-alive\n\n"
_LINE_END = re.compile(rb"\r\n|\r|\n")


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


async def _open_feed(principal: Asking, runtime: RuntimeOf, lanes: LanesOf) -> AsyncIterator[streams.Stream]:
    async with lanes.streams.turn(principal):
        with runtime.feed.follow(principal) as follower:
            async with lanes.heavy.turn(principal):
                stream = await streams.begin_feed(runtime.database, follower, KEEP_ALIVE_SECONDS)
            yield stream


async def _open_job(
    job_id: JobId, principal: Asking, runtime: RuntimeOf, lanes: LanesOf, take_large: LargeTurn
) -> AsyncIterator[streams.Stream]:
    found = store.parse_id(job_id)
    async with lanes.streams.turn(principal):
        with runtime.feed.follow(principal, found) as follower:
            turns = streams.ReadTurns(partial(lanes.reads.turn, principal), take_large)
            yield await streams.begin_job(runtime.database, follower, found, KEEP_ALIVE_SECONDS, turns)


class EventStream(StreamingResponse):
    """An answer of server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], status_code: int = 200) -> None:
        # For nginx: events are not held back.
        super().__init__(events, status_code, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/events", response_class=EventStream, responses=_STREAM)
async def stream_all(
    stream: Annotated[streams.Stream, Depends(_open_feed)], principal: Asking, request: Request
) -> Any:
    """Send the jobs that you see and that have not ended, then each change of a job that you see."""
    return EventStream(_send(stream, principal, request))


@router.get("/{job_id}/events", response_class=EventStream, responses=_STREAM | answers(404))
async def stream_one(stream: Annotated[streams.Stream, Depends(_open_job)], principal: Asking, request: Request) -> Any:
    """Send a job's row, then the row after each change, until the job has ended."""
    return EventStream(_send(stream, principal, request))


async def _send(stream: streams.Stream, principal: Principal, request: Request) -> AsyncIterator[bytes]:
    """Send the events of a stream as long as the token is good."""
    checked = time.monotonic()
    async for event in stream:
        if time.monotonic() - checked >= KEEP_ALIVE_SECONDS:
            if not await is_still_allowed(request, principal):
                return
            checked = time.monotonic()
        yield _KEEP_ALIVE if event is None else _write(event)
        del event  # whose row may be large, and the next one may be long in coming


def _write(event: streams.StreamEvent) -> bytes:
    """Write an event with its data as the other routes write theirs; one that many are sent is written once."""
    return _write_event(event) if event.change is None else _write_change(event.change)


@lru_cache(maxsize=1000)
def _write_change(change: JobChange) -> bytes:
    return _write_event(streams.StreamEvent(change.event, change.brief(), change.version))


def _write_event(event: streams.StreamEvent) -> bytes:
    head = f"event: {event.event}\n" + ("" if event.version is None else f"id: {event.version}\n")
    lines = _LINE_END.split(write_row(event.data))
    return head.encode() + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
