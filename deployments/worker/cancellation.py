"""Finding flow runs that are cancelled in Prefect while they run here: by its events, and by asking now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

logger = logging.getLogger(__name__)
EVENTS = ("prefect.flow-run.Cancelling", "prefect.flow-run.Cancelled")
"""The second comes alone where somebody sets the state itself."""
POLL_SECONDS = 10.0

Cancel = Callable[[UUID], Awaitable[None]]


async def ask(running: Callable[[], Collection[UUID]], cancel: Cancel) -> None:
    """Call `cancel` for each running flow run that Prefect wants cancelled, every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if not running():
            continue
        cancelled = FlowRunFilter(
            id=FlowRunFilterId(any_=list(running())),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])),
        )
        try:
            async with get_client() as client:
                for run in await client.read_flow_runs(flow_run_filter=cancelled):
                    await cancel(run.id)
        except Exception as error:  # whatever it is, it is asked again
            logger.info("Prefect could not be asked for cancellations: %s", type(error).__name__)
