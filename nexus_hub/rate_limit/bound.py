"""The bound within a process, for as long as the database gives no answer about a limit."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

BUCKETS_COUNT_FOR = 61
"""Seconds: a bucket of one second counts for 61, so that no sliding 60 seconds hold more than the limit."""
SOON = 1.0
"""Seconds until somebody whose place is only reserved will know."""


@dataclass(slots=True)
class _Calls:
    """Calls by the second in which they went out."""

    buckets: dict[int, int] = field(default_factory=dict)

    def forget(self, now: float) -> None:
        self.buckets = {second: count for second, count in self.buckets.items() if second > now - BUCKETS_COUNT_FOR}

    def wait(self, limit: int, now: float) -> float:
        """Count the seconds until there is room for another call."""
        left = sum(self.buckets.values())
        for second in sorted(self.buckets):
            if left < limit:
                break
            left -= self.buckets[second]
            if left < limit:
                return max(second + BUCKETS_COUNT_FOR - now, 0.0)
        return 0.0 if left < limit else float(BUCKETS_COUNT_FOR)


class Bound:
    """Counts the calls of this process, whoever let them through; `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[Hashable, _Calls] = {}
        self._reservations: Counter[Hashable] = Counter()

    def note(self, *keys: Hashable) -> None:
        """Count a call that goes out under these keys."""
        second = math.floor(self._clock())
        for key in keys:
            buckets = self._calls.setdefault(key, _Calls()).buckets
            buckets[second] = buckets.get(second, 0) + 1
        self._forget()

    @contextmanager
    def reserve(self, *keys: Hashable) -> Iterator[None]:
        """Hold a place for a call under these keys, until it is known whether it goes out."""
        self._reservations.update(keys)
        try:
            yield
        finally:
            self._reservations -= Counter(keys)

    def wait(self, key: Hashable, limit: int) -> float:
        """Count the seconds until another call fits into a limit per minute; 0 if it fits now."""
        self._forget()
        calls, reserved = self._calls.get(key, _Calls()), self._reservations[key]
        if wait := calls.wait(limit, self._clock()):
            return wait
        return SOON if reserved and calls.wait(limit - reserved, self._clock()) else 0.0

    def _forget(self) -> None:
        now = self._clock()
        for calls in self._calls.values():
            calls.forget(now)
        self._calls = {key: calls for key, calls in self._calls.items() if calls.buckets}
