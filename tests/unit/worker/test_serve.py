"""The worker as a process: its heartbeat file, and the lines that Prefect writes of its runs."""

import asyncio
import errno
import json
import logging
import os
from pathlib import Path

import pytest

from deployments.worker import serve
from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.loops import FailingLoops


async def test_a_heartbeat_that_could_not_be_written_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "missing" / "heartbeat"
    monkeypatch.setenv("NEXUS_WORKER_HEARTBEAT_FILE", str(path))
    monkeypatch.setattr(serve, "HEARTBEAT_FILE_SECONDS", 0.01)
    beats = asyncio.create_task(serve._beat(FailingLoops()))
    try:
        await asyncio.sleep(0.05)
        assert not beats.done()
        path.parent.mkdir()
        async with asyncio.timeout(30):
            while not path.exists() or not path.read_text():
                await asyncio.sleep(0.01)
        assert json.loads(path.read_text())["pid"] == os.getpid()
    finally:
        await cancel_and_wait(beats)


async def test_a_full_disk_does_not_make_a_worker_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, failing = tmp_path / "heartbeat", FailingLoops()
    path.touch()
    os.utime(path, (0, 0))

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("NEXUS_WORKER_HEARTBEAT_FILE", str(path))
    monkeypatch.setattr(serve, "HEARTBEAT_FILE_SECONDS", 0.01)
    monkeypatch.setattr(Path, "write_text", full)
    with subscribe(failing):
        beats = asyncio.create_task(serve._beat(failing))
        async with asyncio.timeout(30):
            while path.stat().st_mtime == 0:
                await asyncio.sleep(0.01)
    await cancel_and_wait(beats)
    assert failing.names() == ["heartbeat"]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("Cancelled()", "INFO"),
        ("Cancelled('The flow run was cancelled.')", "INFO"),
        ("Failed('Task run encountered an exception TaskFailed: claim-stale: The job was cancelled')", "INFO"),
        ("Failed('Task run encountered an exception TaskFailed: released: later')", "INFO"),
        ("Failed('Task run encountered an exception TaskFailed: cancelled: by somebody')", "INFO"),
        ("Failed('Task run encountered an exception TaskFailed: too-large: A result over the limit')", "ERROR"),
        ("Failed('too-large: A result, claim-stale: is what it says')", "ERROR"),
        ("Crashed('Cancelled()')", "ERROR"),
        ("Failed()", "ERROR"),
    ],
)
def test_a_run_that_was_cancelled_is_no_error(state: str, level: str) -> None:
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 1, f"Finished in state {state}", None, None)
    assert serve.is_no_fault(record)
    assert (record.levelname, record.levelno) == (level, getattr(logging, level))


def test_only_the_last_line_of_a_run_is_lowered() -> None:
    line = "It says Finished in state Cancelled()"
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 1, line, None, None)
    serve.is_no_fault(record)
    assert record.levelno == logging.ERROR
