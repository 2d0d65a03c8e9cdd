"""What the upstreams wrote down: the executions of each job."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Execution:
    """One execution at an upstream; `until` is its end, or the last sign of life of one whose process was killed."""

    name: str
    tag: str
    began: float
    until: float
    how: str | None = None
    """`done`, or what ended it before; None if its process was killed."""


def read(path: Path) -> dict[str, list[Execution]]:
    """The executions by tag, each list in the order of their beginnings; times are of the monotonic clock."""
    found: dict[str, Execution] = {}
    for line in map(json.loads, path.read_bytes().splitlines()):
        name, at = line["execution"], line["at"]
        if line["event"] == "begin":
            found[name] = Execution(name, line["tag"], at, at)
            continue
        found[name].until = at
        found[name].how = line.get("how", found[name].how)
    executions = defaultdict(list)
    for execution in sorted(found.values(), key=lambda one: one.began):
        executions[execution.tag].append(execution)
    return executions
