"""The calm after which a lease that has run out was left to run out, and not kept from being renewed."""

import time
from collections.abc import Callable

from nexus_hub.clock import RemoteClock


class Calm:
    """The time since when this process has seen the database take writes without a break, and its clock not jump.

    While the database restarts, fails over, has no room or can't be reached nobody renews a lease, and when its clock
    is set ahead all of them have run out at once: those who live get the time to renew theirs before anything is taken.
    """

    def __init__(
        self,
        clock: RemoteClock,
        longest_gap: float,
        is_full: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._is_full = is_full
        self._longest_gap = longest_gap
        self._monotonic = monotonic
        self._seen_at: float | None = None
        self._since: float | None = None

    def begin(self) -> None:
        """Begin now: nothing is known of what was before."""
        self._seen_at = self._since = self._monotonic()

    def see(self) -> None:
        """Note an answer of the database."""
        now = self._monotonic()
        if self._is_full() or (self._seen_at is not None and now - self._seen_at > self._longest_gap):
            self._since = now
        self._seen_at = now

    def lasts(self, seconds: float) -> bool:
        """Tell if it has lasted so long; where nobody has begun it, it always has."""
        if self._clock.jumped_within(seconds):
            return False
        return self._since is None or self._monotonic() - self._since >= seconds
