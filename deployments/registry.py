"""What is deployed: the flows that the hub's worker may run, each by its dotted entrypoint."""

from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow

POOL = "nexus"
WORKER_TYPE = "nexus"
DEPLOYMENT = "nexus"


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment: `<flow>/nexus`."""

    entrypoint: str
    tags: tuple[str, ...]
    cron: str | None = None
    """When it runs, in UTC."""
    every: timedelta | None = None
    active: bool = True
    """Whether its schedule is on from the beginning."""

    def flow(self) -> "Flow[..., Any]":
        """The flow itself; it is imported now, since Prefect's server reads this list and runs no flows."""
        module, _, name = self.entrypoint.rpartition(".")
        found: Flow[..., Any] = getattr(import_module(module), name)
        return found


DEPLOYED = (
    Deployed("flows.invoke.invoke_tool", ("nexus", "job")),
    Deployed("flows.fetch.fetch_resource", ("nexus", "job")),
    Deployed("flows.prompt.execute_prompt", ("nexus", "job")),
    Deployed("flows.invoke_batch.invoke_batch", ("nexus", "job")),
    Deployed("flows.refresh_catalog.refresh_catalog", ("nexus", "upkeep"), every=timedelta(minutes=5)),
    Deployed("flows.rotate_vault_key.rotate_vault_key", ("nexus", "upkeep"), every=timedelta(days=90), active=False),
    Deployed("flows.cleanup_jobs.cleanup_jobs", ("nexus", "upkeep"), cron="0 2 * * *"),
    Deployed("flows.check_jobs.check_jobs", ("nexus", "check"), every=timedelta(hours=1)),
)
ENTRYPOINTS = frozenset(deployed.entrypoint for deployed in DEPLOYED)
