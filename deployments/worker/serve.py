"""The worker as a process: its event loop runs beside the main thread, so that SIGTERM drains instead of kills.

Prefect turns a SIGTERM that reaches an event loop in the main thread into an exception inside every flow run.
"""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from deployments.registry import POOL
from nexus_hub.errors import HubError, RunCancelled
from nexus_hub.event_loop import assume_asyncio
from nexus_hub.execution.attempt import ClaimStale, Released
from nexus_hub.settings import Settings, load
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.logs import configure_logging
from nexus_hub.telemetry.loops import FailingLoops, keep_running, outlasting
from nexus_hub.telemetry.text import LONGEST_LINE, printable

logger = logging.getLogger("nexus_hub.worker")
HEARTBEAT_FILE_SECONDS = 5
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_NO_FAULT = re.compile(
    r"Finished in state (Cancelled\(|Failed\(.*"
    rf"\bTaskFailed: ({'|'.join((ClaimStale.code, Released.code, RunCancelled.code))}):)"
)

PREFECT_DEFAULTS = {
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}
"""Set before Prefect is imported, where the environment does not say otherwise."""


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Work until told to stop, then wait for what runs."""
    from deployments.worker.worker import NexusWorker

    worker = NexusWorker(POOL, name=f"nexus {socket.gethostname()} {os.getpid()}", limit=settings.worker_limit)
    loops = asyncio.create_task(worker.start(printer=logger.info))
    heartbeat = asyncio.create_task(_beat_until_cancelled())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await worker.drain(settings.worker_grace_seconds)
        loops.cancel()
    heartbeat.cancel()
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await loops


async def _beat_until_cancelled() -> None:
    failing = FailingLoops()
    with subscribe(failing):
        await keep_running("heartbeat", partial(_beat, failing))


async def _beat(failing: FailingLoops) -> None:
    """Say that the event loop turns, and which loops fail: the supervisor reads the file, and how old it is."""
    path = Path(os.environ.get("NEXUS_WORKER_HEARTBEAT_FILE", os.devnull))
    while True:
        with outlasting("heartbeat"):
            _write_heartbeat(path, {"pid": os.getpid(), "at": time.time(), "failing": failing.names()})
        await asyncio.sleep(HEARTBEAT_FILE_SECONDS)


def _write_heartbeat(path: Path, said: dict[str, object]) -> None:
    try:
        path.write_text(json.dumps(said), encoding="utf-8")
    except OSError:
        if path.exists():
            os.utime(path)  # which a full disk takes, so that nobody ends a worker that lives
        raise


def is_no_fault(record: logging.LogRecord) -> bool:
    """Lower the end of a run that was cancelled, or whose job is another's now: to Prefect all but success is an error.

    True always, as a filter that lets everything through.
    """
    if record.levelno == logging.ERROR and _NO_FAULT.match(record.getMessage()):
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def main() -> int:
    """Run the worker beside the main thread, which waits for signals."""
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    settings = load()
    configure_logging(settings.log_format, settings.log_level)
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(is_no_fault)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    failed: list[str] = []

    def run() -> None:
        asyncio.set_event_loop(loop)
        assume_asyncio()
        try:
            loop.run_until_complete(work(settings, stop))
        except HubError as error:
            failed.append(error.message)
        except BaseException as error:
            failed.append(f"the worker ended by {describe_error(error)}")
        finally:
            os.kill(os.getpid(), signal.SIGUSR1)

    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    thread = threading.Thread(target=run, name="worker")
    thread.start()
    if signal.sigwait(signals) != signal.SIGUSR1:
        loop.call_soon_threadsafe(stop.set)
    thread.join()
    for message in failed:
        sys.stderr.write(f"nexus-hub worker: {printable(message, longest=LONGEST_LINE)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
