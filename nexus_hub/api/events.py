"""`/v1/jobs/events` and `/v1/jobs/{id}/events`: live status as server-sent events."""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from nexus_hub.api.access import Asking, LanesOf, RuntimeOf
from nexus_hub.api.admission import find_principal
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import JobId
from nexus_hub.api.rows import write_row
from nexus_hub.errors import DatabaseUnavailable, NotAuthenticated
from nexus_hub.jobs import store
from nexus_hub.live import streams
from nexus_hub.models import Principal

KEEP_ALIVE_SECONDS = 10.0
"""Shorter than the 15 s after which FastAPI sends a comment of its own."""


async def _forbid_storing(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(_forbid_storing)])


async def _open_feed(principal: Asking, runtime: RuntimeOf, lanes: LanesOf) -> AsyncIterator[streams.Stream]:
    async with lanes.streams.turn(principal):
        with runtime.feed.follow(principal) as follower:
            async with lanes.heavy.turn(principal):
                stream = await streams.begin_feed(runtime.database, follower, KEEP_ALIVE_SECONDS)
            yield stream


async def _open_job(
    job_id: JobId, principal: Asking, runtime: RuntimeOf, lanes: LanesOf
) -> AsyncIterator[streams.Stream]:
    found = store.parse_id(job_id)
    async with lanes.streams.turn(principal):
        with runtime.feed.follow(principal, found) as follower:
            turn = partial(lanes.reads.turn, principal)
            yield await streams.begin_job(runtime.database, follower, found, KEEP_ALIVE_SECONDS, turn)


@router.get("/events", response_class=EventSourceResponse)
async def stream_all(
    stream: Annotated[streams.Stream, Depends(_open_feed)], principal: Asking, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """Send the jobs that you see and that have not ended, then each change of a job that you see."""
    async for event in _send(stream, principal, request):
        yield event


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=answers(404))
async def stream_one(
    stream: Annotated[streams.Stream, Depends(_open_job)], principal: Asking, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """Send a job's row, then the row after each change, until the job has ended."""
    async for event in _send(stream, principal, request):
        yield event


async def _send(stream: streams.Stream, principal: Principal, request: Request) -> AsyncIterator[ServerSentEvent]:
    """Send the events of a stream as long as the token is good."""
    checked = time.monotonic()
    async for event in stream:
        if time.monotonic() - checked >= KEEP_ALIVE_SECONDS:
            if not await _still_allowed(principal, request):
                return
            checked = time.monotonic()
        if event is None:
            yield ServerSentEvent(comment="keep-alive")
        else:
            yield _write(event)


def _write(event: streams.StreamEvent) -> ServerSentEvent:
    """Write an event with its data as the other routes write theirs."""
    version = None if event.version is None else str(event.version)
    return ServerSentEvent(event=event.event, id=version, raw_data=write_row(event.data).decode())


async def _still_allowed(principal: Principal, request: Request) -> bool:
    try:
        return await find_principal(request) == principal
    except NotAuthenticated:
        return False
    except DatabaseUnavailable:  # nothing is sent without it, and it is asked again
        return True
