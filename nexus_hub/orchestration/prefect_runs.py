"""The seam to Prefect: the calls that the hub's own code makes on flow runs, whoever answers them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from nexus_hub.models import JobStatus


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a flow run: its type, and the seconds that it has been in it by Prefect's own clock."""

    type: str
    age: float
    is_asked: bool = False
    """A person or a schedule asked for it in Prefect, and it has not stored its job yet, which is its first step."""
    begun: int = 0
    """Number of times that it has begun."""


class PrefectRuns(Protocol):
    """Flow runs that are made once for each key, ended in the name of a process that is gone, and asked after.

    Every call raises `PrefectUnavailable` when nothing answers.
    """

    async def start(
        self, job_type: str, name: str, job_id: UUID, attempt: int, lost_runs: int = 0, *, is_paused: bool = False
    ) -> UUID:
        """Create the flow run of an attempt, once; another one after each that was lost. Paused it waits for `resume`.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def resume(self, flow_run_id: UUID) -> None:
        """Let a run begin that is paused, or waits for its time; any other stays as it is."""
        ...

    async def start_shared(self, run_id: UUID) -> UUID:
        """Create a shared run, once.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def has_shared_runs(self) -> None:
        """Make sure that shared runs can be started.

        Raises:
            NoDeployment: they can't.
        """
        ...

    async def start_run(self, flow: str, name: str, parameters: dict[str, Any], *, idempotency_key: str) -> UUID:
        """Create a flow run of the deployment of a flow, once for each key.

        Raises:
            NoDeployment, PrefectRefused: there is no such run.
        """
        ...

    async def missing_deployments(self) -> list[str]:
        """The flows of the hub that Prefect has no deployment for."""
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

    async def restart(self, flow_run_id: UUID) -> None:
        """Let a run begin anew whose process is gone; any other stays as it is."""
        ...

    async def states(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, RunState]:
        """The states of flow runs, at most a page of them; a run that Prefect does not know is left out."""
        ...

    async def begun(self, seconds: float, offset: int) -> dict[UUID, RunState]:
        """A page of runs of jobs that were due so many seconds ago and have begun, and not ended, oldest first."""
        ...
