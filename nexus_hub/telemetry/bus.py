"""The seam between the hub's work and those that watch it: an event goes to every subscriber of this process.

The log is one subscriber; metrics and traces are further ones.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nexus_hub.telemetry.defects import place_of
from nexus_hub.telemetry.events import DefectFound, JobTags, TelemetryEvent
from nexus_hub.telemetry.logs import log_event

Subscriber = Callable[[TelemetryEvent], None]
logger = logging.getLogger(__name__)
_subscribers: list[Subscriber] = [log_event]


def emit(event: TelemetryEvent) -> None:
    """Tell all subscribers; what one of them raises stays here, since the work goes on."""
    for subscriber in _subscribers:
        try:
            subscriber(event)
        except Exception as error:  # its message may hold anything
            logger.warning("a subscriber failed: %s at %s", type(error).__name__, place_of(error))


def report_defect(error: BaseException, job: JobTags | None = None) -> None:
    """Tell of an error that nobody expected, by its class and place."""
    emit(DefectFound(type(error).__name__, place_of(error), job))


@contextmanager
def subscribe(subscriber: Subscriber) -> Iterator[None]:
    """Let a subscriber see the events of this process as long as the block runs; it must not block."""
    _subscribers.append(subscriber)
    try:
        yield
    finally:
        _subscribers.remove(subscriber)
