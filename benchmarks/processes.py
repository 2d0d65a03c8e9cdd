"""The CPU time and memory of a hub's processes, by their parts."""

import json
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fixtures.hub import Hub

PARTS = ("worker", "api", "prefect", "postgres")
OWN = "this process"


@dataclass(frozen=True)
class Processes:
    """The process of each part of a hub, and this one."""

    parts: dict[str, psutil.Process]

    @classmethod
    def of(cls, hub: Hub, **others: int) -> "Processes":
        """Those that run now, and others by their pids."""
        shown = json.loads(hub.run("status", "--json").out)["parts"]
        found = {part["name"]: psutil.Process(part["pid"]) for part in shown if part["name"] in PARTS and part["pid"]}
        named = {name: psutil.Process(pid) for name, pid in others.items()}
        return cls(found | named | {OWN: psutil.Process()})

    def seconds(self) -> dict[str, float]:
        """The CPU time of each so far. PostgreSQL's is that of its processes, those that ended included."""
        return {name: _seconds(process, whole=name == "postgres") for name, process in self.parts.items()}

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """What each has spent since a reading."""
        return {name: seconds - before[name] for name, seconds in self.seconds().items()}

    def megabytes(self, name: str) -> float:
        """The resident memory of a part."""
        return float(self.parts[name].memory_info().rss) / 2**20


def _seconds(process: psutil.Process, *, whole: bool) -> float:
    times = process.cpu_times()
    total = times.user + times.system
    if whole:
        total += times.children_user + times.children_system
        for child in process.children(recursive=True):
            try:
                total += sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:  # it is counted among those that ended from now on
                continue
    return float(total)


def reachable(directory: str) -> Path:
    """Let everybody pass through a directory, as PostgreSQL's own user must where the hub runs as root."""
    path = Path(directory)
    path.chmod(0o711)
    return path
