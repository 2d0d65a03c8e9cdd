"""News of flow runs from Prefect: by its events in one subscription, and of cancellations by asking now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter

from nexus_hub.telemetry.loops import outlasting

RETRY_SECONDS = 2.0
POLL_SECONDS = 10.0
STARTABLE = ("prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Resuming")
"""Runs that a worker can take, now or later: started and retried by people. Those of schedules are told of late."""
CANCELLED = ("prefect.flow-run.Cancelling", "prefect.flow-run.Cancelled")
"""The second comes alone where somebody sets the state itself."""

Handler = Callable[[UUID], Awaitable[None]]


async def listen(handlers: Mapping[str, Handler]) -> None:
    """Call an event's handler with the id of its flow run, until cancelled.

    Events are missed while the subscription is interrupted.
    """
    wanted = EventFilter(event=EventNameFilter(name=list(handlers)))
    while True:
        with outlasting("prefect-events"):  # whatever ends the subscription, it is made again
            async with get_events_subscriber(filter=wanted) as events:
                async for event in events:
                    await _handle(handlers, event.event, event.resource.id)
        await asyncio.sleep(RETRY_SECONDS)


async def poll_cancellations(running: Callable[[], Collection[UUID]], cancel: Handler) -> None:
    """Call `cancel` for each running flow run that Prefect wants cancelled, every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        with outlasting("cancellations"):
            for flow_run_id in await _find_cancelled(list(running())):
                with outlasting("cancellations"):  # no error with one flow run keeps the news of the others
                    await cancel(flow_run_id)


async def _find_cancelled(running: list[UUID]) -> list[UUID]:
    if not running:
        return []
    cancelled = FlowRunFilter(
        id=FlowRunFilterId(any_=running),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])),
    )
    async with get_client() as client:
        return [run.id for run in await client.read_flow_runs(flow_run_filter=cancelled)]


async def _handle(handlers: Mapping[str, Handler], event: str, resource: str) -> None:
    """Let no error with one flow run keep the news of the others."""
    with outlasting("prefect-events"):
        await handlers[event](UUID(resource.removeprefix("prefect.flow-run.")))
