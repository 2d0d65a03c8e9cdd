"""Report of a process for Prometheus: what it has counted, and, of an API process, the gauges of the whole hub."""

import asyncio
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from prometheus_client.core import Metric

from nexus_hub.calls.cache import Cached
from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.orchestration.gauges import (
    DATABASE_SECONDS,
    HUB_SPECS,
    LONGEST_SECONDS,
    METRICS,
    UP,
    HubGauges,
    Sample,
)
from nexus_hub.telemetry.metrics import PROCESS_SPECS, Metrics
from nexus_hub.telemetry.tally import MetricSpec

SESSIONS = MetricSpec("nexus_mcp_sessions", "gauge", (), "Sessions of the older protocol that this process keeps.")
CALLS = MetricSpec("nexus_direct_calls_running", "gauge", (), "Direct calls that are under way in this process.")
CHILDREN = MetricSpec("nexus_stdio_children", "gauge", (), "Commands of stdio servers that this process runs.")
CHILDREN_BYTES = MetricSpec(
    "nexus_stdio_children_bytes", "gauge", (), "Resident memory of these commands, and of all that they started."
)
ALL_SPECS = (*PROCESS_SPECS, SESSIONS, CALLS, CHILDREN, CHILDREN_BYTES, *HUB_SPECS)
"""All that the hub exports, but for what the client library says of each process."""


class MetricsReport:
    """Gathers the metrics of a process; with `gauges`, those of the whole hub too.

    Whatever is away, the process tells what it knows itself.
    """

    def __init__(
        self,
        metrics: Metrics,
        database: Database,
        gauges: HubGauges | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._database = database
        self._gauges = gauges
        self._is_up = Cached(self._update_servers, DATABASE_SECONDS, clock)
        self._local: dict[MetricSpec, Callable[[], float]] = {}

    def add_gauge(self, spec: MetricSpec, read: Callable[[], float]) -> None:
        """Tell of a number of this process, read whenever somebody asks."""
        self._local[spec] = read

    async def gather(self) -> list[Metric]:
        """Gather all metrics; at most one question to the database is under way at a time."""
        is_up, samples = await asyncio.gather(self._is_up.get(), self._read_gauges())
        if self._gauges is None:
            samples.append((UP, ("database",), float(is_up)))
        samples += await asyncio.to_thread(self._read_local)
        return [*self._metrics.collect(), *_to_families(samples)]

    def _read_local(self) -> list[Sample]:
        """Read the numbers of this process, beside its event loop: some take a look at other processes."""
        return [(spec, (), read()) for spec, read in self._local.items()]

    async def _read_gauges(self) -> list[Sample]:
        return [] if self._gauges is None else await self._gauges.read()

    async def _update_servers(self) -> bool:
        """Take over the servers' names, and drop the series of those that were removed; False without the database."""
        known = self._metrics.servers.known()
        try:
            async with asyncio.timeout(LONGEST_SECONDS), self._database.transaction() as transaction:
                rows = await transaction.all(METRICS["names"], ids=known)
        except (DatabaseUnavailable, TimeoutError):
            return False
        names: dict[UUID, str] = {row["id"]: row["name"] for row in rows}
        self._metrics.drop(self._metrics.servers.update(names))
        return True


def _to_families(samples: Iterable[Sample]) -> Iterable[Metric]:
    """Put samples of one name together, and all specified labels in their places."""
    families: dict[str, Metric] = {}
    for spec, labels, value in samples:
        family = families.setdefault(spec.name, spec.family())
        family.add_sample(spec.name, dict(zip(spec.labels, labels, strict=True)), value)
    return families.values()
