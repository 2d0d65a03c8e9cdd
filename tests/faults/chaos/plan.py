"""What is submitted and what is struck, drawn from a seed: the same seed gives the same plan."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from nexus_hub.models import JobType

USERS = ("ada", "ben", "cleo")
SHORT, LONG, SLOW = (0.05, 0.5), (0.5, 4.0), (12.0, 28.0)
"""Ranges of seconds that a call takes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job: what it asks for, and whether the hub may repeat it once it may have had its effect."""

    weight: int
    server: str
    name: str
    job_type: JobType = "tool_invoke"
    retry: Literal["auto", "always"] = "auto"
    repeatable: bool = False


KINDS = {
    "no hint": Kind(24, "journaled", "plain"),
    "no hint, stdio": Kind(6, "piped", "plain"),
    "no hint, rate limit": Kind(7, "limited", "plain"),
    "no hint, own server": Kind(6, "own", "plain"),
    "no hint, tool error": Kind(6, "journaled", "failing"),
    "no hint, retry always": Kind(9, "journaled", "plain", retry="always", repeatable=True),
    "readOnlyHint": Kind(12, "journaled", "reading", repeatable=True),
    "readOnlyHint, stdio": Kind(6, "piped", "reading", repeatable=True),
    "idempotentHint": Kind(12, "journaled", "idempotent", repeatable=True),
    "resource": Kind(6, "journaled", "", "resource_fetch", repeatable=True),
    "prompt": Kind(6, "journaled", "prompt", "prompt_execute", repeatable=True),
}


@dataclass(frozen=True, slots=True)
class Cancel:
    """A job is cancelled so many seconds after it was accepted."""

    by: Literal["api", "prefect"]
    after: float


@dataclass(frozen=True, slots=True)
class Planned:
    """One job that will be submitted."""

    tag: str
    kind_name: str
    seconds: float
    """How long its call takes."""
    at: float
    """Seconds from the beginning to its submission."""
    user: str | None
    sql_id: UUID | None = None
    """Its id, if it is stored by plain SQL."""
    twice: bool = False
    """Whether the request is sent twice at once."""
    cancel: Cancel | None = None
    batch: int | None = None
    """Those with the same number are sent in one request."""

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    def request(self) -> dict[str, Any]:
        """The body of `POST /v1/jobs`, or its part of a batch's."""
        arguments: dict[str, Any] = {"tag": self.tag, "seconds": self.seconds}
        name: Any = f"{self.kind.server}__{self.kind.name}"
        match self.kind.job_type:
            case "resource_fetch":
                name, arguments = {"server": self.kind.server, "uri": self.uri}, {}
            case "prompt_execute":
                arguments["seconds"] = str(self.seconds)
        return {
            "job_type": self.kind.job_type,
            "name": name,
            "arguments": arguments,
            "retry": self.kind.retry,
            "idempotency_key": self.tag,
        }

    @property
    def uri(self) -> str:
        return f"journaled://read?tag={self.tag}&seconds={self.seconds}"


def jobs(seed: int, count: int, span: float) -> list[Planned]:
    """So many jobs, submitted within `span` seconds, in the order of their submission."""
    chance = random.Random(f"jobs {seed}")
    drawn = [_job(chance, number, count, span) for number in range(count)]
    return list(_batched(_crowded(drawn, random.Random(f"crowds {seed}")), random.Random(f"batches {seed}")))


def _crowded(jobs: list[Planned], chance: random.Random) -> list[Planned]:
    """Some that follow each other come within a moment, and leave a lull: shared runs open, are joined and end.

    Those that come last in a crowd may find the run at its end, since it waits a second for more.
    """
    crowded, moment, left = [], 0.0, 0
    for job in jobs:
        if not left and chance.random() < 0.1:
            left, moment = chance.randint(3, 10), job.at
        if left:
            left -= 1
            moment += chance.choice([0.0, 0.0, 0.1, 1.0])
            crowded.append(replace(job, at=max(job.at, moment)))
        else:
            crowded.append(job)
    return sorted(crowded, key=lambda job: job.at)


def _batched(jobs: list[Planned], chance: random.Random) -> Iterator[Planned]:
    """Some that follow each other become a batch, which is sent when the first of them would have been."""
    number, members, first, twice = 0, 0, jobs[0], False
    for job in jobs:
        if not members and chance.random() < 0.03:
            number, members, first, twice = number + 1, chance.randint(5, 20), job, chance.random() < 0.3
        if members:
            members -= 1
            yield replace(job, batch=number, at=first.at, user=USERS[0], sql_id=None, twice=twice)
        else:
            yield job


def _job(chance: random.Random, number: int, count: int, span: float) -> Planned:
    kind_name = chance.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
    kind = KINDS[kind_name]
    by_sql = kind.job_type == "tool_invoke" and kind.server == "journaled" and chance.random() < 0.1
    sql_id = UUID(int=chance.getrandbits(128), version=4)
    seconds = chance.uniform(*chance.choices([SHORT, LONG, SLOW], [50, 46, 4])[0])
    cancel = Cancel(chance.choice(["api", "api", "prefect"]), chance.uniform(0, 6))
    return Planned(
        tag=f"job-{number:05}",
        kind_name=kind_name,
        seconds=round(seconds, 3),
        at=span * number / count,
        user=USERS[0] if kind.server == "own" else chance.choice([None, *USERS]),
        sql_id=sql_id if by_sql else None,
        twice=chance.random() < 0.1,
        cancel=cancel if chance.random() < 0.1 else None,
    )


PARTS = ("worker", "second worker", "api", "prefect", "postgres")
CUTS = ("all", "half", "one", "listeners")
Deed = Literal["kill", "cut", "freeze"]


@dataclass(frozen=True, slots=True)
class Blow:
    """After a pause: parts are killed at once, a worker is frozen, or database connections are cut."""

    pause: float
    amid: bool
    """Whether it waits, after the pause, until calls are under way."""
    deed: Deed
    what: tuple[str, ...]
    seconds: float = 0.0
    """How long a freeze lasts."""


def blows(seed: int, kills: int, parts: tuple[str, ...] = PARTS, *, lease: float = 30) -> list[Blow]:
    """Blows with so many kills in all, each part as often as the others, and cuts and freezes in between."""
    chance = random.Random(f"blows {seed}")
    return list(_blows(chance, kills, parts, lease))


def _blows(chance: random.Random, kills: int, parts: tuple[str, ...], lease: float) -> Iterator[Blow]:
    bag: list[str] = []
    left = kills
    while left:
        if len(bag) < 2:
            bag += chance.sample(parts, len(parts))
        together = 2 if left > 1 and bag[0] != bag[1] and chance.random() < 0.2 else 1
        yield Blow(chance.uniform(0, 6), chance.random() < 0.75, "kill", tuple(bag[:together]))
        del bag[:together]
        left -= together
        if chance.random() < 0.5:
            yield Blow(chance.uniform(0, 3), True, "cut", (chance.choice(CUTS),))
        if (kills - left) % 10 < together:
            yield Blow(chance.uniform(0, 3), True, "freeze", ("worker",), lease * chance.uniform(1.2, 1.4))
