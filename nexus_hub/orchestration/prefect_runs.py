"""The seam to Prefect: the calls that the hub's own code makes on flow runs, whoever answers them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from nexus_hub.models import JobStatus


@dataclass(frozen=True, slots=True)
class RunState:
    """What Prefect says of a flow run: the type of its state, and since when."""

    type: str
    since: datetime


class PrefectRuns(Protocol):
    """Flow runs that are made once for each key, ended in the name of a process that is gone, and asked after.

    Every call raises `PrefectUnavailable` when nothing answers.
    """

    async def start(self, job_type: str, name: str, job_id: UUID, attempt: int, lost_runs: int = 0) -> UUID:
        """Create the flow run of an attempt, once; another one after each that was lost.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def start_batch(self, batch_id: UUID, jobs: int) -> UUID:
        """Create the flow run of a batch of so many jobs, once.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def start_run(self, flow: str, name: str, parameters: dict[str, Any], *, idempotency_key: str) -> UUID:
        """Create a flow run of the deployment `<flow>/nexus`, once for each key.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def has_batches(self) -> None:
        """Make sure that batches can be started.

        Raises:
            NoDeployment: they can't.
        """
        ...

    async def missing_deployments(self) -> list[str]:
        """The hub's deployments that Prefect does not know."""
        ...

    async def cancel(self, flow_run_id: UUID) -> None:
        """Ask for the end of a flow run; one that has ended or is unknown stays as it is."""
        ...

    async def crash(self, flow_run_id: UUID) -> None:
        """Tell that the process of a flow run is gone; one that has ended, is cancelling or unknown stays as it is."""
        ...

    async def settle(self, flow_run_id: UUID, status: JobStatus) -> None:
        """Tell how a flow run has ended whose process is gone, also one that shows another end.

        One that is unknown stays as it is, and one that is cancelling unless it is told that it was cancelled.
        """
        ...

    async def states(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, RunState]:
        """The states of flow runs, at most a page of them; a run that Prefect does not know is left out."""
        ...

    async def begun(self, before: datetime, offset: int) -> dict[UUID, RunState]:
        """A page of runs of jobs that were due before then and have begun, and not ended, oldest first."""
        ...
