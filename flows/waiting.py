"""Waiting without a worker's slot."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run


async def announce(state: "State[None]") -> None:
    """Set this run's state with the client: an AwaitingRetry that is returned would end the run."""
    async with get_client() as client:
        await client.set_flow_run_state(UUID(flow_run.id), state, force=True)
