"""What is sent to a fleet, and what came of it as its clients saw it."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal
from uuid import UUID, uuid4

from tests.faults.chaos.driver import Submission
from tests.faults.chaos.plan import Planned

Way = Literal["API", "SQL", "command line", "Prefect"]
WAYS: tuple[Way, ...] = ("API", "SQL", "command line", "Prefect")
KINDS = {"no hint": 5, "no hint, stdio": 1, "readOnlyHint": 2, "readOnlyHint, stdio": 1, "idempotentHint": 1}
"""Kinds of jobs, of those of tests/faults/chaos, with their weights."""
BY_SQL = {"no hint": 2, "readOnlyHint": 1, "idempotentHint": 1}
"""Kinds of the one server whose id is known to who writes rows."""
DIRECT = {"no hint": 2, "readOnlyHint": 1}
BRIEF, LONG = (0.05, 0.6), (1.0, 8.0)
"""Ranges of seconds that a call takes; a lease lasts longer than all of them."""


@dataclass
class Sent(Submission):
    """A job that was sent in one of the ways, again and again until it was taken."""

    way: Way = "API"


@dataclass(frozen=True, slots=True)
class Passed:
    """How the proxy passed on a call: to which part, with which status, and how it ended in HAProxy's words."""

    part: str
    status: str
    how: str
    milliseconds: str


@dataclass
class DirectCall:
    """A call at `/mcp` that its caller waited for; times are of the monotonic clock."""

    planned: Planned
    era: str
    began: float
    ended: float = 0.0
    result: str | None = None
    """The text of the answer."""
    failure: str | None = None
    passed: Passed | None = None
    """As the proxy logged it."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Notes:
    """All that was sent."""

    jobs: list[Sent] = field(default_factory=list)
    calls: list[DirectCall] = field(default_factory=list)
    opened_anew: Counter[str] = field(default_factory=Counter)
    """Sessions of the older era that had to be opened again, by what their process answered."""


class Draws:
    """Makes jobs and calls, each with a tag of its own."""

    def __init__(self, prefix: str, seed: int = 1) -> None:
        self.prefix = prefix
        self.chance = random.Random(f"{prefix} {seed}")
        self._numbers = count(1)

    def job(self, way: Way) -> Sent:
        """Draw a job of a way."""
        sql_id = uuid4() if way == "SQL" else None
        return Sent(self._planned(BY_SQL if way == "SQL" else KINDS, sql_id), way=way)

    def call(self, era: str) -> DirectCall:
        """Draw a call that somebody waits for, and that begins now."""
        return DirectCall(self._planned(DIRECT, None), era, time.monotonic())

    def pauses(self, rate: float) -> Iterator[float]:
        """Draw the seconds between what is sent so many times a second."""
        while True:
            yield self.chance.uniform(0.5, 1.5) / rate

    def _planned(self, kinds: dict[str, int], sql_id: UUID | None) -> Planned:
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        seconds = round(self.chance.uniform(*self.chance.choices([BRIEF, LONG], [8, 2])[0]), 3)
        return Planned(f"{self.prefix}-{next(self._numbers):05}", kind, seconds, 0.0, None, sql_id)


def arguments(planned: Planned) -> dict[str, Any]:
    """The arguments of a call."""
    return {"tag": planned.tag, "seconds": planned.seconds}


def tool(planned: Planned) -> str:
    """The name of the tool of a call, as the hub lists it."""
    return f"{planned.kind.server}__{planned.kind.name}"
