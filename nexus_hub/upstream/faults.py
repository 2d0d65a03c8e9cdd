"""Failures between the hub and an upstream server, and the hub's errors that they become.

The HTTP client never lets one failed request reach the SDK as an exception, since that would end every other call
on the connection. It answers in the server's stead with a JSON-RPC error whose data holds a mark that no server
can guess; here the mark is read again. No message holds a header, an environment variable, a URL's path or query.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Self, assert_never

import httpx2
from mcp import MCPError
from mcp.client.session import DISCOVER_TIMEOUT_SECONDS
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, REQUEST_TIMEOUT
from pydantic import ValidationError

from nexus_hub.errors import (
    ForbiddenAddress,
    HubError,
    OutcomeUnknown,
    TooLarge,
    UpstreamRejected,
    UpstreamTimedOut,
    UpstreamUnavailable,
)

Kind = Literal[
    "refused",
    "unresolved",
    "certificate",
    "unusable",
    "forbidden",
    "credentials",
    "limited",
    "redirect",
    "redirects",
    "session",
    "status",
    "version",
    "too-large",
    "disconnected",
]
REPEATABLE: frozenset[Kind] = frozenset({"refused", "unresolved", "session"})
"""Faults after which the request has surely not been executed and a new connection may help."""
MAX_RPC_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """A failure that the HTTP client met; `detail` is a host, a status or a size, never a secret.

    `retry_after` is how many seconds the server wants to be left alone, if it said so.
    """

    kind: Kind
    detail: str = ""
    retry_after: float | None = None

    def encode(self, mark: str) -> dict[str, Any]:
        """Write it as the data of a JSON-RPC error."""
        return {"mark": mark, "kind": self.kind, "detail": self.detail, "retry_after": self.retry_after}

    @classmethod
    def from_exchange(cls, error: Exception) -> Self:
        """Name the reason why a request got no response over HTTP."""
        if isinstance(error, httpx2.ReadError | httpx2.WriteError | httpx2.RemoteProtocolError):
            return cls("disconnected")  # even if it is caused by an ssl.SSLError: something may have been read
        causes = list(_causes(error))
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return cls("unresolved")
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return cls("certificate")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
            return cls("refused")
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError | httpx2.InvalidURL):
            return cls("unusable")
        return cls("disconnected")

    @classmethod
    def from_status(cls, status: int, retry_after: str | None = None) -> Self:
        """Read a status of 400 or more that no JSON-RPC error comes with; `retry_after` is the header's value."""
        seconds = parse_retry_after(retry_after)
        if status in {401, 403, 407}:
            return cls("credentials", str(status), seconds)
        if status in {408, 429}:
            return cls("limited", str(status), seconds)
        return cls("status", str(status), seconds)

    @classmethod
    def from_rpc(cls, error: MCPError, mark: str | None) -> Self | None:
        """Read the failure that our own HTTP client wrote into an error; None if the server itself sent it."""
        data = error.error.data
        if mark is None or not isinstance(data, dict) or data.get("mark") != mark:
            return None
        return cls(data["kind"], data["detail"], data["retry_after"])


class NotExecuted(Exception):
    """A request that the server has surely not executed; a new connection may help."""

    def __init__(self, failure: TransportFailure) -> None:
        self.failure = failure
        super().__init__(failure.kind)


def parse_retry_after(retry_after: str | None) -> float | None:
    """Read the seconds that a header Retry-After names, from now on; None if it can't be read.

    Source: RFC 9110, 10.2.3: a number of seconds, or an HTTP date.
    """
    if retry_after is None:
        return None
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def to_connect_error(
    server: str, error: BaseException, failure: TransportFailure | None, *, seconds: float
) -> HubError:
    """Make the hub's error for a connection that did not come about."""
    if isinstance(error, TimeoutError):
        return UpstreamUnavailable(server, f"The server {server!r} did not answer within {seconds:g} s of connecting.")
    if failure is None:
        return UpstreamUnavailable(server, _explain_causes(server, list(_causes(error))))
    if failure.kind == "forbidden":
        return ForbiddenAddress(failure.detail)
    if failure.kind == "too-large":
        return _to_too_large(server, failure)
    return UpstreamUnavailable(server, _explain(server, failure), failure.retry_after)


def _explain_causes(server: str, causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, FileNotFoundError):
            return f"The command of the server {server!r} was not found; check its spelling and the hub's PATH."
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.ENOEXEC):
            return f"The command of the server {server!r} can't be executed by the hub's user."
        if isinstance(cause, MCPError) and cause.code != CONNECTION_CLOSED:
            return f"The server {server!r} refused to open a session (JSON-RPC {cause.code})."
        if isinstance(cause, RuntimeError) and "protocol version" in str(cause):
            return f"The server {server!r} speaks no version of the protocol that the hub knows."
        if isinstance(cause, ValidationError):
            return f"The server {server!r} answered the connection with something that is not MCP."
    return f"The server {server!r} ended the connection while it was being opened; see its error output, if it has one."


def to_call_error(server: str, error: MCPError, mark: str | None) -> HubError | NotExecuted:
    """Make the hub's error for a request that failed after the connection was open."""
    failure = TransportFailure.from_rpc(error, mark)
    if failure is not None:
        return _to_failed_call(server, failure)
    if is_closed(error):
        return OutcomeUnknown(server)
    if error.code == REQUEST_TIMEOUT and error.message == "Request 'server/discover' timed out":
        return UpstreamTimedOut(server, DISCOVER_TIMEOUT_SECONDS)
    return UpstreamRejected(server, error.code, error.message[:MAX_RPC_MESSAGE])


def to_result_error(server: str) -> UpstreamRejected:
    """Make the error for a result that breaks the protocol; what it held is not repeated."""
    return UpstreamRejected(server, INTERNAL_ERROR, "the result does not conform to the protocol")


def is_closed(error: MCPError) -> bool:
    """Tell if the SDK itself, not the server, made this error because the connection went away.

    Servers use -32000 for errors of their own too, so the SDK's wording decides.
    """
    return error.code == CONNECTION_CLOSED and error.message.startswith(("Connection closed", "SSE stream "))


def _to_failed_call(server: str, failure: TransportFailure) -> HubError | NotExecuted:
    if failure.kind in REPEATABLE:
        return NotExecuted(failure)
    match failure.kind:
        case "disconnected":
            return OutcomeUnknown(server)
        case "too-large":
            return _to_too_large(server, failure)
        case "forbidden":
            return ForbiddenAddress(failure.detail)
        case "status":
            return _to_status_error(server, int(failure.detail), failure.retry_after)
        case _:
            return UpstreamUnavailable(server, _explain(server, failure), failure.retry_after)


def _to_too_large(server: str, failure: TransportFailure) -> TooLarge:
    return TooLarge(f"The answer of {server!r}", *(int(size) for size in failure.detail.split("/")))


def _to_status_error(server: str, status: int, retry_after: float | None) -> HubError:
    """Make the error of a status: 4xx refuses the request; after 5xx nobody knows how far it came."""
    if status >= 500:
        return OutcomeUnknown(server, retry_after)
    return UpstreamRejected(server, INTERNAL_ERROR, f"HTTP status {status}")


def to_unreached_error(server: str, failure: TransportFailure) -> UpstreamUnavailable:
    """Make the error for a request that was refused on two connections in a row."""
    return UpstreamUnavailable(server, _explain(server, failure))


def _explain(server: str, failure: TransportFailure) -> str:  # noqa: C901, PLR0911
    kind, detail = failure.kind, failure.detail
    match kind:
        case "refused":
            return f"The server {server!r} can't be reached: nothing accepts connections at its address."
        case "unresolved":
            return f"The host name of the server {server!r} can't be resolved; check its spelling."
        case "certificate":
            return f"The TLS certificate of the server {server!r} is not accepted, or it does not speak TLS."
        case "unusable":
            return f"The URL or a header of the server {server!r} can't be sent over HTTP; register it again."
        case "credentials":
            return f"The server {server!r} refuses the credentials (HTTP {detail}); check its headers."
        case "limited":
            return f"The server {server!r} takes no more requests now (HTTP {detail}); try again later."
        case "redirect":
            return f"The server {server!r} redirects to {detail}, which is not followed; register that URL instead."
        case "redirects":
            return (
                f"The server {server!r} redirects more than {detail} times in a row; register the URL where that ends."
            )
        case "version":
            return f"The server {server!r} refuses the version of the protocol that the hub speaks (HTTP {detail})."
        case "session":
            return f"The server {server!r} forgets its sessions at once."
        case "status":
            return f"The server {server!r} has no MCP endpoint at its URL (HTTP {detail})."
        case "too-large" | "disconnected" | "forbidden":
            return f"The server {server!r} gave no answer that could be used."
    assert_never(kind)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through an error and everything it was caused by or groups, deepest last."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        current = queue.pop(0)
        if id(current) in seen or isinstance(current, asyncio.CancelledError):
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            queue.extend(current.exceptions)
        queue.extend(cause for cause in (current.__cause__, current.__context__) if cause is not None)


def rpc_errors(error: BaseException) -> Iterator[MCPError]:
    """Find the JSON-RPC errors that an error was caused by or groups."""
    return (cause for cause in _causes(error) if isinstance(cause, MCPError))


def to_rpc_error(failure: TransportFailure, mark: str) -> dict[str, Any]:
    """Write the JSON-RPC answer that stands for a failure."""
    error = {"code": INTERNAL_ERROR, "message": failure.kind, "data": failure.encode(mark)}
    return {"jsonrpc": "2.0", "id": None, "error": error}
