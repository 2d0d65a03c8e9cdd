"""What is deployed: the flows that the hub's worker may run, each by its dotted entrypoint."""

from dataclasses import dataclass

POOL = "nexus"
WORKER_TYPE = "nexus"
DEPLOYMENT = "nexus"


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment: `<flow>/nexus`."""

    entrypoint: str
    tags: tuple[str, ...]

    @property
    def module(self) -> str:
        """The module of the flow."""
        return self.entrypoint.rpartition(".")[0]

    @property
    def attribute(self) -> str:
        """The name of the flow in its module."""
        return self.entrypoint.rpartition(".")[2]


DEPLOYED = (
    Deployed("flows.invoke.invoke_tool", ("nexus", "job")),
    Deployed("flows.fetch.fetch_resource", ("nexus", "job")),
    Deployed("flows.prompt.execute_prompt", ("nexus", "job")),
)
ENTRYPOINTS = frozenset(deployed.entrypoint for deployed in DEPLOYED)
