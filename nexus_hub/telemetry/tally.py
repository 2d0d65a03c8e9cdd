"""Tallies: counters and histograms that cost a look-up or two, and are written out when somebody asks."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
Rename = Callable[[Labels], Labels]
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds in seconds: from a direct call to a job that waited half an hour."""
_LE = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
OTHER = "other"
"""The label of whatever is beyond a bound."""
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric as the documentation has it."""

    name: str
    kind: Kind
    labels: Labels
    help: str

    def family(self) -> Any:
        """Make the family that its samples are added to."""
        return _FAMILIES[self.kind](self.name, self.help, labels=self.labels)


class Counter:
    """Counts by labels."""

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec
        self.counts: defaultdict[Labels, float] = defaultdict(int)

    def collect(self, rename: Rename) -> Metric:
        """Write the counts out; those that get the same labels are one."""
        family: Metric = self.spec.family()
        together = defaultdict[Labels, float](int)
        for labels, count in list(self.counts.items()):
            together[rename(labels)] += count
        for labels, count in together.items():
            family.add_sample(self.spec.name, dict(zip(self.spec.labels, labels, strict=True)), count)
        return family

    def drop(self, is_gone: Callable[[Labels], bool]) -> None:
        """Forget series."""
        for labels in [labels for labels in self.counts if is_gone(labels)]:
            del self.counts[labels]


class Histogram:
    """Durations by labels; a row holds the count of each bucket, then the sum."""

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec
        self._rows: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, seconds: float) -> None:
        """Take note of a duration."""
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = [0] * (len(_LE) + 1)
        row[bisect_left(BUCKETS, seconds)] += 1
        row[-1] += seconds

    def collect(self, rename: Rename) -> Metric:
        """Write the histograms out; those that get the same labels are one."""
        family, together = self.spec.family(), dict[Labels, list[float]]()
        for labels, row in list(self._rows.items()):
            known = together.setdefault(rename(labels), [0] * len(row))
            for at, value in enumerate(row):
                known[at] += value
        for labels, row in together.items():
            family.add_metric(labels, list(zip(_LE, accumulate(row[:-1]), strict=True)), row[-1])
        found: Metric = family
        return found

    def drop(self, is_gone: Callable[[Labels], bool]) -> None:
        """Forget series."""
        for labels in [labels for labels in self._rows if is_gone(labels)]:
            del self._rows[labels]


class Bounded:
    """Values of a label that nobody else bounds: the first so many of them, and `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def of(self, value: str) -> str:
        """Give the label of a value."""
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= self._most:
                return OTHER
            known = self._known[value] = value
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)
