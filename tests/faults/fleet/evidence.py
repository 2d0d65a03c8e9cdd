"""All that is known of a cell at its end: what was sent, the rows, the executions, the schedule's runs."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.chaos import checks as chaos_checks
from tests.faults.chaos.journal import Execution
from tests.faults.chaos.killer import Struck
from tests.faults.chaos.rows import Row
from tests.faults.fleet.schedules import Fired
from tests.faults.fleet.sent import Notes


@dataclass
class Evidence:
    """The evidence of a cell, gathered past the hub."""

    notes: Notes
    rows: dict[str, Row]
    """At the end, by id; those of direct calls too."""
    first_seen: dict[str, Row]
    """When they were first seen ended, by id."""
    executions: dict[str, list[Execution]]
    """By tag."""
    struck: list[Struck]
    schedule_tag: str
    fired: list[Fired]
    span: tuple[float, float]
    """From the schedule's making to its removal."""
    by_tag: dict[str, list[Row]] = field(init=False)
    """The rows by the tag that they were asked for with."""

    def __post_init__(self) -> None:
        self.by_tag = defaultdict(list)
        for row in self.rows.values():
            self.by_tag[str((row["params"] or {}).get("tag"))].append(row)
        for sent in self.notes.jobs:
            if sent.way in {"Prefect", "command line"}:  # whose answers do not say it
                sent.ids |= {row["id"] for row in self.by_tag[sent.planned.tag]}

    @property
    def durable(self) -> chaos_checks.Evidence:
        """The jobs that were sent, as the checks of the chaos run have them."""
        ids = {one for sent in self.notes.jobs for one in sent.ids}
        return chaos_checks.Evidence(
            list(self.notes.jobs),
            {key: row for key, row in self.rows.items() if key in ids},
            self.first_seen,
            {tag: found for tag, found in self.executions.items() if tag != self.schedule_tag},
            self.struck,
        )

    def runs_of_schedule(self) -> list[tuple[Fired, Row | None]]:
        """Each run of the schedule with its job, if it stored one."""
        rows = {row["idempotency_key"]: row for row in self.by_tag[self.schedule_tag]}
        return [(one, rows.get(f"flow-run:{one.id}")) for one in self.fired]
