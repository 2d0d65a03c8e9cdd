"""Connector: opens MCP clients for a server's configuration, in either protocol era."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from mcp import Client
from mcp.shared.message import SessionMessage
from mcp_types import (
    REQUEST_TIMEOUT,
    DiscoverResult,
    ErrorData,
    Implementation,
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from nexus_hub import __version__
from nexus_hub.errors import HubError
from nexus_hub.upstream import faults, words
from nexus_hub.upstream.addresses import Resolve
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.credentials import CredentialSource
from nexus_hub.upstream.http import ContainedClient, build_client, http_streams
from nexus_hub.upstream.logged_in import LoggedInClient
from nexus_hub.upstream.notices import Notices
from nexus_hub.upstream.questions import Questions, Send
from nexus_hub.upstream.stdio import stdio_streams

OnDisconnect = Callable[[], None]
PROBE_SECONDS = 3.0
"""The time that a server has to say that it knows `server/discover`, before it is opened as one of the older era."""


class Connector:
    """Opens clients for one server, one at a time, and says why one did not open.

    A server of the era 2026-07-28 that answered well is opened again without asking it what it is; so is a command of
    an older era, and a server that ends or is silent when it is asked. `is_older`: in the older era whatever it is.
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
        max_listing_bytes: int | None = None,
        protocol_version: str | None = None,
        is_older: bool = False,
        credentials: CredentialSource | None = None,
    ) -> None:
        self.server = server
        self._hidden = words.find_secrets(config)
        self._credentials = credentials
        self._config = config
        self._guarded = guarded
        self._resolve = resolve
        self._log = log
        self._max_bytes = max_bytes
        self._max_listing_bytes = max_listing_bytes
        self.connect_timeout = connect_timeout
        self.is_command = isinstance(config, StdioConfig)
        self._is_older = is_older
        self._legacy = self.is_command and protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        self._http: ContainedClient | None = None
        self._known: DiscoverResult | None = None
        self._latest: _Streams | None = None
        self.asks_alone = False
        """True once the server asked something that nothing ties to a call: from then on no session is shared."""

    @property
    def hidden(self) -> tuple[str, ...]:
        """The secrets that are masked in the server's words."""
        return self._http.hidden if self._http is not None else self._hidden

    @asynccontextmanager
    async def client(self, on_disconnect: OnDisconnect, notices: Notices) -> AsyncGenerator[Client]:
        """Open a client; `on_disconnect` is called once its server is gone, `notices` take what it says unasked."""
        async with AsyncExitStack() as stack:
            client, streams = await self._open(stack, notices)
            streams.watch(on_disconnect)
            self._remember(client, streams)
            yield client

    async def _open(self, stack: AsyncExitStack, notices: Notices) -> "tuple[Client, _Streams]":
        """Open a client; a command that ends is started once more, and spoken to in the other era first."""
        mode = self._mode()
        try:
            return await self._open_once(stack, mode, notices)
        except Exception:
            if isinstance(self._config, HttpConfig) or (mode == "auto" and not self._ended_early()):
                raise
        return await self._open_once(stack, "legacy" if mode == "auto" else "auto", notices)

    async def _open_once(self, stack: AsyncExitStack, mode: str, notices: Notices) -> "tuple[Client, _Streams]":
        questions = Questions(is_command=self.is_command, on_unattributed=self._note_unattributed)
        self._latest = streams = _Streams(
            self._streams(assumed=self._known is not None), questions, notices, probing=mode == "auto"
        )
        client = await stack.enter_async_context(
            Client(
                streams,
                mode=mode,
                prior_discover=self._known,
                client_info=Implementation(name="nexus-hub", version=__version__),
                cache=None,
            )
        )
        return client, streams

    def _mode(self) -> str:
        if self._is_older:
            return "legacy"
        if self._known is not None:
            return _newest_version(self._known)
        return "legacy" if self._legacy else "auto"

    def _ended_early(self) -> bool:
        return self._latest is not None and self._latest.ended

    def _remember(self, client: Client, streams: "_Streams") -> None:
        streams.questions.is_modern = is_modern = client.session.discover_result is not None
        if isinstance(self._config, HttpConfig):
            self._known = client.session.discover_result
            self._legacy = not is_modern and (streams.silent or self._legacy)
        else:
            self._legacy = not is_modern

    def _note_unattributed(self) -> None:
        self.asks_alone = True

    def forget(self) -> None:
        """Ask the server what it is when it is opened next."""
        self._known = None
        self._legacy = False

    def fault(self, error: Exception) -> Callable[[], HubError]:
        """Give a maker of the hub's error for a client that did not open."""
        failure = self._answered_failure(error) or (self._http.failure if self._http else None)
        return faults.to_connect_error(self.server, error, failure, seconds=self.connect_timeout, hidden=self.hidden)

    def was_silent(self, error: Exception) -> bool:
        """Tell if a client did not open since nobody answered, rather than that the hub was turned away."""
        return faults.is_silence(error, self._answered_failure(error) or (self._http.failure if self._http else None))

    @property
    def logs_in(self) -> bool:
        """True if its clients take a login's credentials."""
        return self._credentials is not None

    def is_of_login(self, error: Exception) -> bool:
        """Tell if a client did not open for want of a login, which says nothing of the server."""
        failure = self._answered_failure(error) or (self._http.failure if self._http else None)
        return failure is not None and failure.kind in faults.UNSENT

    def _answered_failure(self, error: Exception) -> faults.TransportFailure | None:
        """Read the failure of the very request that kept the session from opening."""
        found = (faults.TransportFailure.from_rpc(one) for one in faults.rpc_errors(error))
        return next((failure for failure in found if failure is not None), None)

    def _streams(self, *, assumed: bool) -> AbstractAsyncContextManager[Any]:
        if isinstance(self._config, StdioConfig):
            return stdio_streams(self._config, self._log, self._max_bytes)
        self._http = build_client(
            self._config,
            guarded=self._guarded,
            resolve=self._resolve,
            max_bytes=self._max_bytes,
            connect_timeout=self.connect_timeout,
            max_listing_bytes=self._max_listing_bytes,
            make=partial(LoggedInClient, self._credentials) if self._credentials else ContainedClient,
        )
        self._http.assumed = assumed
        return http_streams(self._config, self._http, self._max_bytes)


def questions_of(client: Client) -> Questions:
    """Give what answers the questions of a client's server."""
    if not isinstance(client.server, _Streams):
        raise TypeError("The client was not opened by a connector.")
    return client.server.questions


def _newest_version(known: DiscoverResult) -> str:
    return [each for each in MODERN_PROTOCOL_VERSIONS if each in known.supported_versions][-1]


class _Streams:
    """The streams of a transport: the end of the reading one is watched, and a silent probe is answered.

    Questions and notices of the server are taken out of them, and the capabilities that questions need are declared.

    The SDK waits 10 s for the answer to `server/discover`; here it gets an error sooner, and goes on to `initialize`.
    """

    def __init__(
        self, inner: AbstractAsyncContextManager[Any], questions: Questions, notices: Notices, *, probing: bool
    ) -> None:
        self._inner = inner
        self.questions = questions
        self._notices = notices
        self._on_disconnect: OnDisconnect | None = None
        self.probing = probing
        self.probe: RequestId | None = None
        self.ended = False
        self.silent = False

    async def take(self, item: object, send: Send) -> bool:
        """Take what a server asks, or says unasked; False for everything that is the SDK's."""
        return self.questions.take(item, send) or await self._notices.take(item, self.questions.find_logs)

    def watch(self, on_disconnect: OnDisconnect) -> None:
        """Call a function once the server is gone."""
        self._on_disconnect = on_disconnect
        if self.ended:
            on_disconnect()

    def note_answer(self, item: object) -> None:
        """Note that the probe was answered."""
        answer = item.message if isinstance(item, SessionMessage) else None
        if isinstance(answer, JSONRPCError | JSONRPCResponse) and answer.id == self.probe:
            self.probing = False

    def end(self) -> None:
        """Note that the server is gone."""
        self.ended = True
        if self._on_disconnect is not None:
            self._on_disconnect()

    async def __aenter__(self) -> Any:
        reading, writing = await self._inner.__aenter__()
        sending = _Probing(writing, self)
        return _Watched(reading, self, sending.send), sending

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.questions.close()
        return await self._inner.__aexit__(kind, error, trace)


class _Wrapped:
    """A stream of a transport, opened and closed as the SDK does it."""

    def __init__(self, inner: Any, streams: _Streams) -> None:
        self._inner = inner
        self._streams = streams

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)  # type: ignore[no-any-return]


class _Watched(_Wrapped):
    """A read stream that reports its end before whoever reads it knows, and that a silent probe is answered on."""

    def __init__(self, inner: Any, streams: _Streams, send: Send) -> None:
        super().__init__(inner, streams)
        self._send = send
        self._until: float | None = None

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        try:
            while True:
                item = await (self._next_of_probe() if self._streams.probing else self._inner.__anext__())
                if not await self._streams.take(item, self._send):
                    return item
        except BaseException:
            self._streams.end()
            raise

    async def _next_of_probe(self) -> Any:
        self._until = self._until or anyio.current_time() + PROBE_SECONDS
        with anyio.move_on_after(self._until - anyio.current_time()):
            item = await self._inner.__anext__()
            self._streams.note_answer(item)
            return item
        self._streams.probing, self._streams.silent = False, True
        if self._streams.probe is None:
            return await self._inner.__anext__()
        error = ErrorData(code=REQUEST_TIMEOUT, message="no answer to server/discover")
        return SessionMessage(JSONRPCError(jsonrpc="2.0", id=self._streams.probe, error=error))


class _Probing(_Wrapped):
    """A write stream that notes the ids of requests, and declares what may be asked."""

    async def send(self, item: SessionMessage) -> None:
        if isinstance(request := item.message, JSONRPCRequest):
            if request.method == "server/discover":
                self._streams.probe = request.id
            elif request.method == "initialize" and request.params is not None:
                request.params["capabilities"] = self._streams.questions.offered
            self._streams.questions.note_sent(request)
        await self._inner.send(item)
