"""`/metrics`: what Prometheus reads of the API's process, and of the worker that `up` runs beside it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request, Response

from nexus_hub.errors import HubError, NotAuthenticated
from nexus_hub.home.layout import Home
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.exposition import PATH, has_token, serve_metrics, write_page

STALE_SECONDS = 20.0
"""A worker that lives writes its page every five seconds."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class NoWorkerMetrics(HubError):
    """A worker that runs elsewhere, was just started, or is gone."""

    code = "no-worker-metrics"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "No worker of this home has written its metrics lately. nexus-hub status shows if it runs; of a worker "
            "elsewhere read the port that NEXUS_WORKER_METRICS_PORT names."
        )


@dataclass(frozen=True)
class MetricsPages:
    """The pages, and who may read them."""

    runtime: Runtime
    tokens: tuple[str, ...]
    worker_file: Path

    @classmethod
    def from_settings(cls, runtime: Runtime, service_key: str) -> Self:
        """Let those read who have the service key, or the token of the settings."""
        token = runtime.settings.metrics_token
        tokens = (service_key, *([token.get_secret_value()] if token else []))
        return cls(runtime, tokens, Home(runtime.settings.home).worker_metrics_file)

    def read_worker(self) -> bytes:
        """Read the page of the worker beside this process.

        Raises:
            NoWorkerMetrics: there is none, or it is old.
        """
        try:
            if abs(time.time() - self.worker_file.stat().st_mtime) <= STALE_SECONDS:  # or the clock was set back
                return self.worker_file.read_bytes()
        except OSError:
            pass
        raise NoWorkerMetrics


async def _get_pages(request: Request) -> MetricsPages:
    """Get the pages for a reader who has a token; nobody is looked up, so that the database may be away.

    Raises:
        NotAuthenticated: no token, or another one.
    """
    pages: MetricsPages = request.app.state.metrics
    if not has_token(request, pages.tokens):
        raise NotAuthenticated
    return pages


PagesOf = Annotated[MetricsPages, Depends(_get_pages)]
router = APIRouter(include_in_schema=False)


@router.get(PATH)
async def show_metrics(request: Request, pages: PagesOf) -> Response:
    """Show the metrics of this process, and the gauges of the whole hub."""
    page, content_type = write_page(await pages.runtime.report.gather(), request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": content_type})


@router.get(f"{PATH}/worker")
def show_worker_metrics(pages: PagesOf) -> Response:
    """Show the metrics of the worker on this machine, as it wrote them in the last seconds."""
    return Response(pages.read_worker(), headers={"Content-Type": TEXT})


@asynccontextmanager
async def serve_apart(runtime: Runtime) -> AsyncIterator[None]:
    """Serve the page on a port of its own too, if the settings name one.

    Raises:
        PortTaken: it can't be listened on.
    """
    settings = runtime.settings
    if settings.metrics_port is None:
        yield
        return
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    host, port = settings.metrics_host, settings.metrics_port
    async with serve_metrics(runtime.report.gather, host, port, token, setting="NEXUS_METRICS_PORT"):
        yield
