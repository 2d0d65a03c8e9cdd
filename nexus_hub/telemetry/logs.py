"""Log lines on standard error, plain or JSON: events by their fields, all else by logger and message.

An exception in a line is shown by its class and its place: its message, and what a library has written of it, may hold
arguments, results or credentials.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from nexus_hub.telemetry.defects import place_of, read_traceback
from nexus_hub.telemetry.events import TelemetryEvent
from nexus_hub.telemetry.text import LONGEST_LINE, printable

LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
OWN_LOGGERS = ("nexus_hub", "deployments", "flows", "tasks")
QUIET_LIBRARIES = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "urllib3"),
    *("mcp", "mcp.client", "client", "psycopg.pool", "opentelemetry"),
)
"""Loggers that write URLs, results, messages of upstream servers and exceptions with values in them."""
_TRACEBACK = "Traceback (most recent call last):"
_events = logging.getLogger("nexus_hub.events")


def configure_logging(style: LogFormat, level: LogLevel) -> None:
    """Send the log lines of this process to standard error.

    The level counts for the hub's own lines; libraries are heard from warnings on, since their details may be secret.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else PlainLines())
    handler.addFilter(_is_wanted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    logging.raiseExceptions = False  # a full disk must not put a traceback with values on standard error
    quiet_libraries()


def _is_wanted(record: logging.LogRecord) -> bool:
    """Leave out details of libraries, also of those that have set a level of their own."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in OWN_LOGGERS


def quiet_libraries() -> None:
    """Keep out what the clients of databases and servers write by themselves."""
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def log_event(event: TelemetryEvent) -> None:
    """Write an event's line; costs one comparison where its level is off."""
    if _events.isEnabledFor(event.level):
        _events.log(event.level, event)


class PlainLines(logging.Formatter):
    """`2026-01-31T09:30:00.123Z INFO ended job_id=... outcome=completed ms=12.5`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        if isinstance(record.msg, TelemetryEvent):
            return f"{_at(record)} {record.levelname} {record.msg}"
        message, place = _read_message(record)
        return f"{_at(record)} {record.levelname} {record.name}: {message}" + (f" ({place})" if place else "")


class JsonLines(logging.Formatter):
    """An object per line: `at`, `level`, `event` and its fields, or `logger`, `message` and perhaps `place`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line of ASCII."""
        line: dict[str, Any] = {"at": _at(record), "level": record.levelname.lower()}
        if isinstance(record.msg, TelemetryEvent):
            line |= {"event": record.msg.name, **record.msg.fields()}
        else:
            message, place = _read_message(record)
            line |= {"logger": record.name, "message": message, **({"place": place} if place else {})}
        return json.dumps(line, separators=(",", ":"))


def _at(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def _read_message(record: logging.LogRecord) -> tuple[str, str | None]:
    """Read the first line of a record's message, and the place of its exception if it has one."""
    message, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
    if message.lstrip().startswith(_TRACEBACK):  # uvicorn writes out what ended the start of an application
        return read_traceback(message)
    if error is not None:
        for words in (repr(error), str(error)):
            message = message.replace(words, type(error).__name__) if words else message
    first = next(iter(message.splitlines()), "")
    return printable(first, longest=LONGEST_LINE), f"{type(error).__name__} at {place_of(error)}" if error else None
