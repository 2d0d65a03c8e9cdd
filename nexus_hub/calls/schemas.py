"""JSON schemas of upstream servers, followed within bounds.

Whoever runs an upstream server writes them: nothing that one names is fetched, and no check takes long.
"""

from dataclasses import dataclass
from typing import Any

from nexus_hub.calls.evaluation import Evaluation, Violation
from nexus_hub.calls.keywords import find_dialect


@dataclass(frozen=True, slots=True)
class Findings:
    """Places where a value breaks a schema, at most 100; `is_complete` unless the check ended before the schema did."""

    problems: list[Violation]
    is_complete: bool


class Schema:
    """A schema to hold values against; a rule of it that is broken, or takes too long to follow, checks nothing."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def check(self, value: Any) -> Findings:
        """Find where a value surely breaks the schema. It costs a few milliseconds at most, whatever the two are."""
        evaluation = Evaluation(self.document, find_dialect)
        evaluation.run(value)
        return Findings(evaluation.problems, evaluation.is_complete)
