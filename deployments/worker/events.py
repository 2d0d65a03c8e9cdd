"""Hearing by Prefect's events of what happens to flow runs, in one subscription."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter

logger = logging.getLogger(__name__)
RETRY_SECONDS = 2.0
STARTABLE = ("prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Resuming")
"""Runs that a worker can take, now or later: started and retried by people. Those of schedules are told of late."""

Handler = Callable[[UUID], Awaitable[None]]


async def listen(handlers: Mapping[str, Handler]) -> None:
    """Call what belongs to an event's name with the id of its flow run, until cancelled.

    What happens while the subscription is cut is not heard.
    """
    wanted = EventFilter(event=EventNameFilter(name=list(handlers)))
    while True:
        try:
            async with get_events_subscriber(filter=wanted) as events:
                async for event in events:
                    await handlers[event.event](UUID(event.resource.id.removeprefix("prefect.flow-run.")))
        except Exception as error:  # whatever ends the subscription, it is made again
            logger.info("the subscription to flow runs ended by %s", type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS)
