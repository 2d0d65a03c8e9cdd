"""The log lines that a run shows in Prefect: ids, codes and times; nothing of a call itself.

Prefect's handler gathers them and sends them in the background, those of all runs together.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from nexus_hub.settings import load
from nexus_hub.telemetry.text import LONGEST_LINE, printable


def write_line(message: str, *facts: object) -> None:
    """Add a line to this run's log."""
    line = printable(message % facts if facts else message, longest=LONGEST_LINE)
    _logger().info("%s", line, extra={"flow_run_id": flow_run.id})


@contextmanager
def write_duration(what: str) -> Iterator[None]:
    """Add a line that says how long the block took, however it ended."""
    began = time.monotonic()
    try:
        yield
    finally:
        write_line("%s in %d ms", what, (time.monotonic() - began) * 1000)


@cache
def _logger() -> logging.Logger:
    """A logger whose lines go to Prefect alone, unless NEXUS_RUN_LOGS says that they are not wanted."""
    logger = logging.getLogger("nexus-hub")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [APILogHandler()] if load().run_logs else [logging.NullHandler()]
    return logger
