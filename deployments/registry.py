"""The deployments: the flows that the hub's worker may run, each by its dotted entrypoint."""

from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow

POOL = "nexus"
WORKER_TYPE = "nexus"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment, which is named like its flow."""

    entrypoint: str
    tags: tuple[str, ...]
    required: tuple[str, ...] = ()
    """The parameters that a person has to give."""
    cron: str | None = None
    """Its schedule, in UTC."""
    every: timedelta | None = None
    active: bool = True
    """Its schedule is on from the beginning."""

    @property
    def name(self) -> str:
        """Its name, and its flow's: Prefect's UI shows the first in bold."""
        return self.entrypoint.rpartition(".")[2].replace("_", "-")

    def flow(self) -> "Flow[..., Any]":
        """The flow itself; it is imported now, since Prefect's server reads this list and runs no flows."""
        module, _, name = self.entrypoint.rpartition(".")
        found: Flow[..., Any] = getattr(import_module(module), name)
        return found


DEPLOYED = (
    Deployed("flows.invoke.invoke_tool", ("nexus", "job"), required=("tool",)),
    Deployed("flows.fetch.fetch_resource", ("nexus", "job"), required=("server", "uri")),
    Deployed("flows.prompt.execute_prompt", ("nexus", "job"), required=("prompt",)),
    Deployed("flows.invoke_batch.invoke_batch", ("nexus", "job")),
    Deployed("flows.refresh_catalog.refresh_catalog", ("nexus", "maintenance"), every=timedelta(minutes=5)),
    Deployed(
        "flows.rotate_vault_key.rotate_vault_key", ("nexus", "maintenance"), every=timedelta(days=90), active=False
    ),
    Deployed("flows.cleanup_jobs.cleanup_jobs", ("nexus", "maintenance"), cron="0 2 * * *"),
    Deployed("flows.check_jobs.check_jobs", ("nexus", "check"), every=timedelta(hours=1)),
    Deployed("flows.refresh_logins.refresh_logins", ("nexus", "maintenance"), every=timedelta(minutes=5)),
)
ENTRYPOINTS = frozenset(deployed.entrypoint for deployed in DEPLOYED)
