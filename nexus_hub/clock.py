"""Clocks of other machines, read off their answers: this machine's own may be hours apart from them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DATE_SECONDS = 2.0
"""The time by which a Date header may be apart from the clock that wrote it: it names whole seconds, and travels."""
JUMP_SECONDS = 5.0
"""A clock that is so far from where it should be was set; an answer that came late is nearer."""


def parse_date(header: str | None) -> datetime | None:
    """Read an HTTP date; None if it is none."""
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)


class RemoteClock:
    """The clock of another machine, as it was last told, carried on by this machine's monotonic clock.

    What that machine wrote down, such as an end or a beginning, is compared with this. As long as it has told nothing
    it is this machine's clock, whose jumps matter to nobody after that.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, local: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._local = local
        self._told: tuple[float, float] | None = None
        self._jumped_at: float | None = None

    def note(self, seconds: float) -> None:
        """Note the time that was just told, in seconds of the epoch."""
        if self._told and abs(seconds - self.time()) > JUMP_SECONDS:
            self._jumped_at = self._monotonic()
        self._told = seconds, self._monotonic()

    def note_date(self, header: str | None) -> None:
        """Note the Date header of an answer; this machine's clock, which is finer, is believed where both agree."""
        if date := parse_date(header):
            told, local = date.timestamp(), self._local()
            self.note(local if abs(local - told) <= DATE_SECONDS else told + DATE_SECONDS / 2)

    def time(self) -> float:
        """Tell the other machine's time, in seconds of the epoch."""
        if self._told is None:
            return self._local()
        seconds, at = self._told
        return seconds + self._monotonic() - at

    def now(self) -> datetime:
        """Tell the other machine's time as a date."""
        return datetime.fromtimestamp(self.time(), UTC)

    def jumped_within(self, seconds: float) -> bool:
        """Tell if the other machine's clock was set in the last seconds."""
        return self._jumped_at is not None and self._monotonic() - self._jumped_at < seconds
