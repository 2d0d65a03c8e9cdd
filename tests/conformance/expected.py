"""The failures that are expected: a list that may only shrink."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.suite import Check

FILE = Path(__file__).with_name("expected_failures.txt")


def listed(part: str, text: str) -> Counter[Check]:
    """The checks that a part of the run may fail: a line for each time, `<part> <scenario> <check>`."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return Counter(Check(words[1], " ".join(words[2:])) for words in lines if words and words[0] == part)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How what failed differs from what was expected to, and from what fails without the hub."""

    unlisted: Counter[Check]
    stale: Counter[Check]
    beyond: Counter[Check]
    """Fail through the hub more often than by the reference server alone."""

    @classmethod
    def of(cls, through: Counter[Check], alone: Counter[Check], expected: Counter[Check]) -> "Verdict":
        return cls(through - expected, expected - through, through - alone)

    @property
    def good(self) -> bool:
        """True if the list is exact."""
        return not self.unlisted and not self.stale
