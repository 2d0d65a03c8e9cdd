"""News of flow runs from Prefect: by its events in one subscription, and of cancellations by asking now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter

from nexus_hub.telemetry.defects import describe_error

logger = logging.getLogger(__name__)
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
        try:
            async with get_events_subscriber(filter=wanted) as events:
                async for event in events:
                    await _handle(handlers[event.event], event.resource.id.removeprefix("prefect.flow-run."))
        except Exception as error:  # whatever ends the subscription, it is made again
            logger.info("the subscription to flow runs ended by %s", describe_error(error))
        await asyncio.sleep(RETRY_SECONDS)


async def poll_cancellations(running: Callable[[], Collection[UUID]], cancel: Handler) -> None:
    """Call `cancel` for each running flow run that Prefect wants cancelled, every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            for flow_run_id in await _find_cancelled(list(running())):
                await _handle(cancel, str(flow_run_id))
        except Exception as error:  # whatever it is, it is asked again
            logger.info("Prefect could not be asked for cancellations: %s", describe_error(error))


async def _find_cancelled(running: list[UUID]) -> list[UUID]:
    if not running:
        return []
    cancelled = FlowRunFilter(
        id=FlowRunFilterId(any_=running),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])),
    )
    async with get_client() as client:
        return [run.id for run in await client.read_flow_runs(flow_run_filter=cancelled)]


async def _handle(handler: Handler, flow_run_id: str) -> None:
    """Let no error with one flow run keep the news of the others."""
    try:
        await handler(UUID(flow_run_id))
    except Exception as error:
        logger.warning("the news of the run %s was lost by %s", flow_run_id, describe_error(error))
