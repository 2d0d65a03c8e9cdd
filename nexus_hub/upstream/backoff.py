"""Pauses before a server that could not be reached is tried again."""

from collections.abc import Callable

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0


class ConnectBackoff:
    """Doubles the pause with every failure in a row, up to the longest, and takes a random half to all of it.

    `jitter` gives numbers from 0 to 1, `clock` seconds that never go back.
    """

    def __init__(
        self, clock: Callable[[], float], jitter: Callable[[], float], *, longest: float = LONGEST_SECONDS
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._longest = longest
        self.failures = 0
        self._until = 0.0

    def fail(self) -> None:
        """Note a failure."""
        longest = min(self._longest, FIRST_SECONDS * 2.0 ** min(self.failures, 16))
        self.failures += 1
        self.pause(longest * (0.5 + self._jitter() / 2))

    def pause(self, seconds: float) -> None:
        """Let the pause last so long from now on; nothing is forgotten."""
        self._until = self._clock() + seconds

    def succeed(self) -> None:
        """Forget all failures."""
        self.failures = 0
        self._until = 0.0

    @property
    def seconds_left(self) -> float:
        """Rest of the pause; 0 when there is none."""
        return max(0.0, self._until - self._clock()) if self.failures else 0.0
