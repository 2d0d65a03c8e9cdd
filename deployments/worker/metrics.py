"""The worker's metrics: on a port of its own, and in a file that the API beside it shows."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.home.files import replace_file
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.exposition import Probes, serve_metrics, write_page
from nexus_hub.telemetry.loops import keep_running, outlasting

WRITE_SECONDS = 5.0
FILE_VARIABLE = "NEXUS_WORKER_METRICS_FILE"
"""Set by `up`."""


@asynccontextmanager
async def exposing(runtime: Runtime, probes: Probes) -> AsyncIterator[None]:
    """Let the worker's metrics be read as long as the block runs, and its probes on the same port.

    Raises:
        PortTaken: the port that the settings name can't be listened on.
    """
    settings, path = runtime.settings, os.environ.get(FILE_VARIABLE)
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    async with AsyncExitStack() as stack:
        if (port := settings.worker_metrics_port) is not None:
            serving = serve_metrics(
                runtime.report.gather,
                settings.metrics_host,
                port,
                token,
                setting="NEXUS_WORKER_METRICS_PORT",
                probes=probes,
            )
            await stack.enter_async_context(serving)
        if path:
            loop = keep_running("metrics-file", partial(_keep_writing, runtime, Path(path)))
            stack.push_async_callback(cancel_and_wait, asyncio.create_task(loop))
        yield


async def _keep_writing(runtime: Runtime, path: Path) -> None:
    while True:
        with outlasting("metrics-file"):
            page, _ = write_page(await runtime.report.gather())
            await asyncio.to_thread(replace_file, path, page)
        await asyncio.sleep(WRITE_SECONDS)
