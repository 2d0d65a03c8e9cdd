"""The worker as a process: its heartbeat file."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from deployments.worker import serve
from nexus_hub.cancellation import cancel_and_wait


async def test_a_heartbeat_that_could_not_be_written_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "missing" / "heartbeat"
    monkeypatch.setenv("NEXUS_WORKER_HEARTBEAT_FILE", str(path))
    monkeypatch.setattr(serve, "HEARTBEAT_FILE_SECONDS", 0.01)
    beats = asyncio.create_task(serve._beat())
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
