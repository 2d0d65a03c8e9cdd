"""Exposition of metrics: the page that Prometheus reads, and a port of its own for it."""

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nexus_hub.errors import PortTaken

PATH = "/metrics"
Gather = Callable[[], Awaitable[Iterable[Metric]]]
Probes = Mapping[str, Callable[[], Awaitable[Response]]]
"""Answers to probes by their paths, which whoever looks after a process asks without a token."""
NO_PROBES: Probes = {}
_OF_PROCESS = ProcessCollector(registry=None)


class _Gathered(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
        yield from _OF_PROCESS.collect()


def write_page(families: Iterable[Metric], accept: str = "") -> tuple[bytes, str]:
    """Write metrics, and those of this process, in the format that the reader accepts; the page and its type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Gathered(families)), content_type


def has_token(request: Request, tokens: Iterable[str]) -> bool:
    """Tell if a request brings one of these as its bearer token."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    found = [hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(found)


def make_app(gather: Gather, token: str | None, probes: Probes = NO_PROBES) -> ASGIApp:
    """Make the application of a port of its own, whose readers need the token, if there is one; probes need none."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        path = request.url.path if request.method in {"GET", "HEAD"} else ""
        answer: Response
        if path in probes:
            answer = await probes[path]()
        elif path != PATH:
            answer = PlainTextResponse(f"The metrics are at {PATH}.\n", 404)
        elif token is not None and not has_token(request, [token]):
            answer = PlainTextResponse("Send NEXUS_METRICS_TOKEN.\n", 401, {"WWW-Authenticate": "Bearer"})
        else:
            page, content_type = write_page(await gather(), request.headers.get("accept", ""))
            answer = Response(page, headers={"Content-Type": content_type})
        await answer(scope, receive, send)

    return app


class _MetricsServer(uvicorn.Server):
    """Leaves signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_metrics(
    gather: Gather, host: str, port: int, token: str | None, *, setting: str, probes: Probes = NO_PROBES
) -> AsyncIterator[int]:
    """Serve the page on a port of its own as long as the block runs; gives the port. `setting` is what moves it.

    Raises:
        PortTaken: it can't be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError:
        raise PortTaken(port, setting, None) from None
    with listener:
        server = _MetricsServer(
            uvicorn.Config(
                make_app(gather, token, probes),
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait({task})
