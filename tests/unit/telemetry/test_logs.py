"""Log lines in both formats, as a process writes them."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import AttemptEnded, JobDispatched, JobTags
from nexus_hub.telemetry.logs import OWN_LOGGERS, JsonLines, LogFormat, LogLevel, PlainLines, configure_logging

CANARY = "canary-7f3a"
JOB = UUID(int=1)
FORMATS: tuple[LogFormat, ...] = ("plain", "json")


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Gives what was written to standard error; the logging of the tests is put back afterwards."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_an_event_is_a_plain_line_with_time_level_and_fields(written: Callable[[], str]) -> None:
    configure_logging("plain", "info")
    emit(AttemptEnded(JobTags(JOB, server="srv"), "completed", 12.34))
    output = written()
    at, level, rest = output.rstrip("\n").split(" ", 2)
    assert len(at) == len("2026-01-31T09:30:00.123Z")
    assert at.endswith("Z")
    assert (level, rest) == ("INFO", f"ended job_id={JOB} server=srv outcome=completed ms=12.3")


def test_an_event_is_an_object_of_ascii_in_json(written: Callable[[], str]) -> None:
    configure_logging("json", "info")
    emit(AttemptEnded(JobTags(JOB, tool="天気\u202e"), "completed", 12.34))
    output = written()
    assert output.isascii()
    line = json.loads(output)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info",
        "event": "ended",
        "job_id": str(JOB),
        "tool": "天気\\u202e",
        "outcome": "completed",
        "ms": 12.3,
    }


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 1), ("warning", 0)])
def test_the_level_decides_which_events_are_written(written: Callable[[], str], level: LogLevel, lines: int) -> None:
    configure_logging("plain", level)
    emit(JobDispatched(JobTags(JOB), 1))
    emit(AttemptEnded(JobTags(JOB), "completed", 1))
    output = written()
    assert len(output.splitlines()) == lines


@pytest.mark.parametrize("style", FORMATS)
def test_a_library_is_heard_from_warnings_on_whatever_the_level(written: Callable[[], str], style: LogFormat) -> None:
    configure_logging(style, "debug")
    logging.getLogger("some.library").info("GET %s", CANARY)
    talkative = logging.getLogger("some.talkative.library")
    talkative.setLevel(logging.DEBUG)
    talkative.info("GET %s", CANARY)
    logging.getLogger("httpx").error("GET %s", CANARY)
    assert written() == ""
    logging.getLogger("some.library").warning("going away")
    assert "going away" in written()


@pytest.mark.parametrize("style", FORMATS)
def test_an_exception_is_shown_by_its_class_and_place_and_not_by_its_message(
    written: Callable[[], str], style: LogFormat
) -> None:
    configure_logging(style, "info")
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        logging.getLogger("some.library").exception("it failed: %r, that is %s", error, error)
    output = written()
    assert CANARY not in output
    assert "it failed: ValueError, that is ValueError" in output
    assert "ValueError at telemetry/test_logs.py:" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("style", FORMATS)
def test_a_traceback_that_a_library_has_written_out_is_shown_without_its_message(
    written: Callable[[], str], style: LogFormat
) -> None:
    configure_logging(style, "info")
    text = f'Traceback (most recent call last):\n  File "/a/b/c.py", line 3, in work\n    work()\nKeyError: {CANARY}\n'
    logging.getLogger("some.server").error(text)
    output = written()
    assert CANARY not in output
    assert "b/c.py:3 work" in output
    assert "KeyError" in output


@pytest.mark.parametrize("style", FORMATS)
def test_a_message_is_one_line_that_hides_nothing(written: Callable[[], str], style: LogFormat) -> None:
    configure_logging(style, "info")
    logging.getLogger("nexus_hub.x").warning("one \u202e\x1b[2J\r\nINFO forged")
    output = written()
    assert len(output.splitlines()) == 1
    assert "\x1b" not in output
    assert "\u202e" not in output


@pytest.mark.parametrize("formatter", [PlainLines(), JsonLines()])
def test_a_message_that_does_not_fit_its_values_is_not_written_with_them(
    written: Callable[[], str], formatter: logging.Formatter
) -> None:
    configure_logging("plain", "info")
    logging.getLogger().handlers[0].setFormatter(formatter)
    logging.getLogger("nexus_hub.x").warning("%d", CANARY)
    output = written()
    assert CANARY not in output


def test_an_error_that_a_task_kept_to_itself_is_not_written_with_its_message() -> None:
    script = f"""
import asyncio, gc
from nexus_hub.telemetry.logs import configure_logging

configure_logging("plain", "info")

async def fail():
    raise ValueError("{CANARY}")

async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Task exception was never retrieved" in done.stderr
    assert "ValueError at " in done.stderr
    assert CANARY not in done.stderr


def test_prefect_leaves_the_format_alone_and_writes_in_it() -> None:
    script = """
import logging
from nexus_hub.telemetry.logs import configure_logging

configure_logging("json", "info")
from prefect import flow
from prefect.logging import get_logger

get_logger("flow").warning("heard")
logging.getLogger("nexus_hub.x").info("heard too")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["heard", "heard too"]
