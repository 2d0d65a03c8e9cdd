"""What a flow tells Prefect about its own run."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run


async def announce(state: "State[None]") -> None:
    """Set this run's state with the client: an AwaitingRetry that is returned would end the run."""
    async with get_client() as client:
        await client.set_flow_run_state(UUID(flow_run.id), state, force=True)


async def rename(what: str, job_id: UUID) -> None:
    """Name a run that a person or a schedule started as the hub names its own."""
    async with get_client() as client:
        await client.update_flow_run(UUID(flow_run.id), name=f"{flow_run.flow_name} {what} {str(job_id)[:4]}")
