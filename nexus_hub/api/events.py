"""`/v1/jobs/events` and `/v1/jobs/{id}/events`: live status as server-sent events."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import TypeAdapter

from nexus_hub.api.access import Asking, RuntimeOf, principal_of
from nexus_hub.api.problems import Json
from nexus_hub.errors import DatabaseUnavailable, NotAuthenticated
from nexus_hub.jobs import store
from nexus_hub.live import streams
from nexus_hub.models import Principal

KEEP_ALIVE_SECONDS = 10.0
"""Shorter than the 15 s after which FastAPI sends a comment of its own."""
_AS_JSON: TypeAdapter[Any] = TypeAdapter(Any)


async def _unstored(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(_unstored)])


async def _feed(principal: Asking, runtime: RuntimeOf) -> AsyncIterator[streams.Stream]:
    with runtime.changes.follow(principal) as follower:
        yield await streams.begin_feed(runtime.database, follower, KEEP_ALIVE_SECONDS)


async def _job(job_id: str, principal: Asking, runtime: RuntimeOf) -> AsyncIterator[streams.Stream]:
    found = store.parse_id(job_id)
    with runtime.changes.follow(principal, found) as follower:
        yield await streams.begin_job(runtime.database, follower, found, KEEP_ALIVE_SECONDS)


@router.get("/events", response_class=EventSourceResponse)
async def of_all(
    stream: Annotated[streams.Stream, Depends(_feed)], principal: Asking, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """The jobs that you see and that have not ended, then each change of a job that you see."""
    async for event in _sent(stream, principal, request):
        yield event


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def of_one(
    stream: Annotated[streams.Stream, Depends(_job)], principal: Asking, request: Request
) -> AsyncIterator[ServerSentEvent]:
    """A job's row, then the row after each change, until the job has ended."""
    async for event in _sent(stream, principal, request):
        yield event


async def _sent(stream: streams.Stream, principal: Principal, request: Request) -> AsyncIterator[ServerSentEvent]:
    """What is told, as long as the token is good."""
    checked = time.monotonic()
    async for told in stream:
        if time.monotonic() - checked >= KEEP_ALIVE_SECONDS:
            if not await _still_allowed(principal, request):
                return
            checked = time.monotonic()
        if told is None:
            yield ServerSentEvent(comment="keep-alive")
        else:
            yield _event(told)


def _event(told: streams.StreamEvent) -> ServerSentEvent:
    """An event with its data written as the other routes write theirs."""
    written = Json(_AS_JSON.dump_python(told.data, mode="json")).body
    version = None if told.version is None else str(told.version)
    return ServerSentEvent(event=told.event, id=version, raw_data=bytes(written).decode())


async def _still_allowed(principal: Principal, request: Request) -> bool:
    try:
        return await principal_of(request) == principal
    except NotAuthenticated:
        return False
    except DatabaseUnavailable:  # nothing is told without it, and it is asked again
        return True
