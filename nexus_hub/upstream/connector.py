"""Connector: opens MCP clients for a server's configuration, in either protocol era."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mcp import Client
from mcp_types import DiscoverResult, Implementation
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus_hub import __version__
from nexus_hub.errors import HubError
from nexus_hub.upstream import faults
from nexus_hub.upstream.addresses import Resolve
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.http import ContainedClient, build_client, http_streams
from nexus_hub.upstream.stdio import stdio_streams

OnDisconnect = Callable[[], None]


class Connector:
    """Opens clients for one server, one at a time, and says why one did not open.

    A server of the era 2026-07-28 that answered well is opened again without asking it what it is.
    """

    def __init__(
        self,
        server: str,
        config: HttpConfig | StdioConfig,
        *,
        guarded: bool,
        resolve: Resolve,
        log: Path | None,
        max_bytes: int,
        connect_timeout: float,
    ) -> None:
        self.server = server
        self._config = config
        self._guarded = guarded
        self._resolve = resolve
        self._log = log
        self._max_bytes = max_bytes
        self._connect_timeout = connect_timeout
        self._http: ContainedClient | None = None
        self._known: DiscoverResult | None = None

    @asynccontextmanager
    async def client(self, on_disconnect: OnDisconnect) -> AsyncGenerator[Client]:
        """Open a client; `on_disconnect` is called once its server is gone."""
        known = self._known
        streams = _Streams(self._streams(assumed=known is not None), on_disconnect)
        async with Client(
            streams,
            mode="auto" if known is None else _newest_version(known),
            prior_discover=known,
            client_info=Implementation(name="nexus-hub", version=__version__),
            cache=None,
        ) as client:
            if isinstance(self._config, HttpConfig):
                self._known = client.session.discover_result
            yield client

    def forget(self) -> None:
        """Ask the server what it is when it is opened next."""
        self._known = None

    def fault(self, error: Exception) -> Callable[[], HubError]:
        """Give a maker of the hub's error for a client that did not open."""
        failure = self._http.failure if self._http else None
        return faults.to_connect_error(self.server, error, failure, seconds=self._connect_timeout)

    def _streams(self, *, assumed: bool) -> AbstractAsyncContextManager[Any]:
        if isinstance(self._config, StdioConfig):
            return stdio_streams(self._config, self._log, self._max_bytes)
        self._http = build_client(
            self._config,
            guarded=self._guarded,
            resolve=self._resolve,
            max_bytes=self._max_bytes,
            connect_timeout=self._connect_timeout,
        )
        self._http.assumed = assumed
        return http_streams(self._config, self._http, self._max_bytes)


def _newest_version(known: DiscoverResult) -> str:
    return [each for each in MODERN_PROTOCOL_VERSIONS if each in known.supported_versions][-1]


class _Streams:
    """The streams of a transport, of which the reading one is watched for its end."""

    def __init__(self, inner: AbstractAsyncContextManager[Any], on_disconnect: OnDisconnect) -> None:
        self._inner = inner
        self._on_disconnect = on_disconnect

    async def __aenter__(self) -> Any:
        reading, writing = await self._inner.__aenter__()
        return _Watched(reading, self._on_disconnect), writing

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)


class _Watched:
    """A read stream that reports its end before whoever reads it knows."""

    def __init__(self, inner: Any, on_disconnect: OnDisconnect) -> None:
        self._inner = inner
        self._on_disconnect = on_disconnect

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> Any:
        try:
            return await self._inner.receive()
        except BaseException:
            self._on_disconnect()
            raise

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._inner.__anext__()
        except BaseException:
            self._on_disconnect()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> "_Watched":
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)  # type: ignore[no-any-return]
