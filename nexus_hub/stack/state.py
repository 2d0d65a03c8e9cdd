"""The state of the stack, which the supervisor writes to `run/state.json`."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from nexus_hub.home.files import write_private

Phase = Literal["waiting", "starting", "up", "down", "done", "failed", "stopped"]


class PartState(BaseModel):
    """State of one service or one step."""

    name: str
    kind: Literal["part", "step"] = "part"
    phase: Phase = "waiting"
    pid: int | None = None
    created: float | None = None
    """Start of the process, which tells it from a later one with the same id."""
    port: int | None = None
    healthy: bool = False
    failing: list[str] = []
    """The loops of the part that failed lately; the part goes on."""
    restarts: int = 0
    started_at: datetime | None = None
    seconds: float | None = None
    """Seconds that it took to come up."""
    log: str | None = None


class StackState(BaseModel):
    """State of the whole stack."""

    phase: Literal["starting", "ready", "stopping", "stopped"] = "starting"
    pid: int | None = None
    started_at: datetime | None = None
    failing: list[str] = []
    """The supervisor's own loops that failed lately."""
    parts: list[PartState] = []


def write(path: Path, state: StackState) -> None:
    """Store the state in one step, for its owner only."""
    write_private(path, state.model_dump_json(indent=2) + "\n")


def read(path: Path) -> StackState | None:
    """The stored state; None if there is none that can be read."""
    try:
        return StackState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
