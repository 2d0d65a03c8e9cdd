"""Understudy of the heartbeat: a thread that renews the leases of a process whose event loop is held up."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nexus_hub.telemetry.defects import describe_error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Understudy:
    """Does the work of a loop that is late, as long as that may be late at all.

    `began_at` says when the loop last came round; from `late_seconds` on it counts as late, from `dead_seconds` on as
    dead, so that another process gets its jobs.
    """

    began_at: Callable[[], float]
    work: Callable[[], None]
    late_seconds: float
    dead_seconds: float

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the loop as long as the block runs."""
        ended = threading.Event()
        threading.Thread(target=self._run, args=(ended,), name="lease-understudy", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def step_in(self, now: float) -> bool:
        """Do the work if the loop is late and not dead; True if it was."""
        late = self.late_seconds < now - self.began_at() < self.dead_seconds
        if late:
            try:
                self.work()
            except Exception as error:  # whatever it is, it is tried again
                logger.warning("leases could not be renewed beside the event loop: %s", describe_error(error))
        return late

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(self.late_seconds / 3):
            self.step_in(time.monotonic())
