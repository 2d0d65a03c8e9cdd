"""Failures between the hub and an upstream server, and the hub's errors that they become.

The transports never let one failed request reach the SDK as an exception, since that would end every other call
on the connection. They answer in the server's stead with a JSON-RPC error whose data holds a mark that no server
can guess; here the mark is read again. No message holds a header, an environment variable, a URL's path or query.
A server's own words are in it where it refused a request: bounded, with control characters spelled out.
"""

import asyncio
import errno
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Self, assert_never

import httpx2
from mcp import MCPError
from mcp.client.session import DISCOVER_TIMEOUT_SECONDS
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    ErrorData,
    JSONRPCError,
    RequestId,
)
from pydantic import ValidationError

from nexus_hub.clock import parse_date
from nexus_hub.errors import (
    ForbiddenAddress,
    HubError,
    LoginNeeded,
    MalformedResult,
    OutcomeUnknown,
    TooLarge,
    UpstreamRejected,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from nexus_hub.upstream import words
from nexus_hub.upstream.peer import select_error_data

Kind = Literal[
    "refused",
    "unresolved",
    "certificate",
    "unusable",
    "forbidden",
    "credentials",
    "login",
    "unready",
    "limited",
    "redirect",
    "redirects",
    "session",
    "status",
    "version",
    "too-large",
    "malformed",
    "disconnected",
]
REPEATABLE: frozenset[Kind] = frozenset({"refused", "unresolved", "session"})
"""Faults after which the request has surely not been executed and a new connection may help."""
SILENT: frozenset[Kind] = frozenset({"refused", "unresolved", "disconnected"})
"""Faults of a server that is not there, or is gone."""
UNSENT: frozenset[Kind] = frozenset({"login", "unready"})
"""Faults of a login: a person must go on, or it could not be had just now. They tell nothing of the server."""
MARK = secrets.token_hex(16)
"""Secret of this process that tells the answers that its transports gave from those of the servers."""
WITHOUT_ENDPOINT = frozenset({404, 405, 410})
BUSY = frozenset({502, 503, 504})
"""Statuses of a server, or of what stands before it, that is starting, restarting or overloaded."""


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """A failure that a transport met; `detail` is a host, a status, a size or a reason of ours, never a secret.

    `retry_after` is how many seconds the server wants to be left alone, if it said so; `words` are its own, made safe;
    `answer` is what came instead of a result, if that is JSON.
    """

    kind: Kind
    detail: str = ""
    retry_after: float | None = None
    words: str = ""
    answer: Any = None

    def to_message(self, ident: RequestId | None = None) -> JSONRPCError:
        """Write it as the JSON-RPC answer to a request."""
        data = {"mark": MARK, **{name: getattr(self, name) for name in self.__slots__}}
        return JSONRPCError(jsonrpc="2.0", id=ident, error=ErrorData(code=INTERNAL_ERROR, message=self.kind, data=data))

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
    def from_status(cls, status: int, retry_after: str | None = None, said: str = "", date: str | None = None) -> Self:
        """Read a status of 400 or more, with the values of the headers Retry-After and Date, and the server's words."""
        seconds = parse_retry_after(retry_after, date)
        if status in {401, 403, 407}:
            return cls("credentials", str(status), seconds, said)
        if status in {408, 425, 429}:
            return cls("limited", str(status), seconds, said)
        return cls("status", str(status), seconds, said)

    @classmethod
    def from_rpc(cls, error: MCPError) -> Self | None:
        """Read the failure that one of our transports wrote into an error; None if the server itself sent it."""
        data = error.error.data
        if not isinstance(data, dict) or data.get("mark") != MARK:
            return None
        return cls(**{name: value for name, value in data.items() if name != "mark"})


class NotExecuted(Exception):
    """A request that the server has surely not executed; a new connection may help, and `verdict` is if it does not."""

    def __init__(self, verdict: HubError) -> None:
        self.verdict = verdict
        super().__init__(verdict.code)


def parse_retry_after(retry_after: str | None, date: str | None = None) -> float | None:
    """Read the seconds that a header Retry-After names, from now on; None if it can't be read.

    Source: RFC 9110, 10.2.3: a number of seconds, or an HTTP date, which is by the clock that the answer's Date tells.
    """
    if retry_after is None:
        return None
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    until = parse_date(retry_after)
    if until is None:
        return None
    return max(0.0, (until - (parse_date(date) or datetime.now(UTC))).total_seconds())


def to_connect_error(
    server: str, error: BaseException, failure: TransportFailure | None, *, seconds: float, hidden: Iterable[str] = ()
) -> Callable[[], HubError]:
    """Give a maker of the hub's error for a connection that did not come about."""
    if isinstance(error, TimeoutError):
        late = f"The server {server!r} did not answer within {seconds:g} s of connecting."
        return partial(UpstreamUnavailable, server, late)
    causes = list(_causes(error))
    failure = failure or _find_failure(causes)
    if failure is None:
        return partial(UpstreamUnavailable, server, _explain_causes(server, causes, hidden))
    if failure.kind in _ALIKE:
        return partial(_ALIKE[failure.kind], server, failure)
    if failure.kind in {"credentials", "status"} and not _may_pass(failure):
        return _to_refusal(server, failure)
    return partial(UpstreamUnavailable, server, _explain(server, failure), failure.retry_after)


def is_silence(error: BaseException, failure: TransportFailure | None) -> bool:
    """Tell if a connection did not come about since nobody is there, rather than that somebody refused it."""
    if isinstance(error, TimeoutError):
        return True
    causes = list(_causes(error))
    if failure := failure or _find_failure(causes):
        return failure.kind in SILENT or (failure.kind == "status" and int(failure.detail) >= 500)
    return not any(
        isinstance(cause, ValidationError)
        or (isinstance(cause, MCPError) and cause.code not in {CONNECTION_CLOSED, REQUEST_TIMEOUT})
        or (isinstance(cause, RuntimeError) and "protocol version" in str(cause))
        for cause in causes
    )


def _find_failure(causes: Iterable[BaseException]) -> TransportFailure | None:
    refusal = next((cause for cause in causes if isinstance(cause, MCPError)), None)
    return TransportFailure.from_rpc(refusal) if refusal else None


def _may_pass(failure: TransportFailure) -> bool:
    """Tell if a server that answered with this status may answer with another one soon."""
    return failure.kind == "status" and (int(failure.detail) >= 500 or int(failure.detail) in {409, 421, 423})


def _to_refusal(server: str, failure: TransportFailure) -> Callable[[], UpstreamRejected]:
    """Make the error of a status that will not change by itself."""
    reason = "it does not accept the credentials; check its headers" if failure.kind == "credentials" else ""
    if failure.kind == "status" and int(failure.detail) in WITHOUT_ENDPOINT:
        reason = "it has no MCP endpoint at its URL"
    said = ": ".join(part for part in (reason, failure.words) if part) or "it gives no reason"
    challenge = failure.answer if failure.detail in {"401", "403"} else None
    return partial(UpstreamRejected, server, INTERNAL_ERROR, said, by=f"HTTP {failure.detail}", challenge=challenge)


def _to_too_large(server: str, failure: TransportFailure) -> TooLarge:
    return TooLarge(f"The answer of {server!r}", *(int(size) for size in failure.detail.split("/")))


_ALIKE: dict[Kind, Callable[[str, TransportFailure], HubError]] = {
    "forbidden": lambda _, failure: ForbiddenAddress(failure.detail),
    "too-large": _to_too_large,
    "login": lambda server, failure: LoginNeeded(
        server, failure.detail, failure.words or None, is_yours=failure.answer is not False
    ),
    "unready": lambda server, failure: UpstreamUnavailable(server, failure.detail, failure.retry_after),
}
"""Errors of what comes to the same while a session is opened and in a call."""


def _explain_causes(server: str, causes: list[BaseException], hidden: Iterable[str]) -> str:
    for cause in causes:
        if isinstance(cause, FileNotFoundError):
            return f"The command of the server {server!r} was not found; check its spelling and the hub's PATH."
        if isinstance(cause, PermissionError) or (isinstance(cause, OSError) and cause.errno == errno.ENOEXEC):
            return f"The command of the server {server!r} can't be executed by the hub's user."
        if isinstance(cause, MCPError) and cause.code != CONNECTION_CLOSED:
            said = words.make_safe(cause.error.message, hidden)
            return f"The server {server!r} refused to open a session (JSON-RPC {cause.code}): {said}"
        if isinstance(cause, RuntimeError) and "protocol version" in str(cause):
            return f"The server {server!r} speaks no version of the protocol that the hub knows."
        if isinstance(cause, ValidationError):
            return f"The server {server!r} answered the connection with something that is not MCP."
    return f"The server {server!r} ended the connection while it was being opened; see its error output, if it has one."


def to_call_error(server: str, error: MCPError, hidden: Iterable[str] = ()) -> HubError | NotExecuted:
    """Make the hub's error for a request that failed after the connection was open, less our secrets in `hidden`."""
    failure = TransportFailure.from_rpc(error)
    if failure is not None:
        return _to_failed_call(server, failure)
    if is_closed(error):
        return OutcomeUnknown(server)
    if error.code == REQUEST_TIMEOUT and error.message == "Request 'server/discover' timed out":
        return UpstreamTimedOut(server, DISCOVER_TIMEOUT_SECONDS)
    said, data = words.make_safe(error.message, hidden), select_error_data(error.code, error.error.data)
    verdict = UpstreamRejected(server, error.code, said, data=data)
    if error.code == UNSUPPORTED_PROTOCOL_VERSION or words.is_forgotten(error.message, code=error.code):
        return NotExecuted(verdict)
    return verdict


def is_closed(error: MCPError) -> bool:
    """Tell if the SDK itself, not the server, made this error because the connection went away.

    Servers use -32000 for errors of their own too, so the SDK's wording decides.
    """
    return error.code == CONNECTION_CLOSED and error.message.startswith(("Connection closed", "SSE stream "))


def _to_failed_call(server: str, failure: TransportFailure) -> HubError | NotExecuted:  # noqa: PLR0911
    if failure.kind in _ALIKE:
        return _ALIKE[failure.kind](server, failure)
    if failure.kind == "session" and failure.detail:
        return NotExecuted(_to_refusal(server, failure)())
    if failure.kind in REPEATABLE:
        return NotExecuted(UpstreamUnavailable(server, _explain(server, failure)))
    match failure.kind:
        case "disconnected":
            return OutcomeUnknown(server)
        case "malformed":
            return MalformedResult(server, failure.detail, failure.answer)
        case "credentials":
            return _to_refusal(server, failure)()
        case "status" if int(failure.detail) >= 500:  # nobody knows how far it came
            return OutcomeUnknown(server, failure.retry_after, reason=_describe_status(failure))
        case "status":
            return _to_refusal(server, failure)()
        case _:
            return UpstreamUnavailable(server, _explain(server, failure), failure.retry_after)


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
            said = f": {failure.words}" if failure.words else "."
            return f"The server {server!r} forgets its sessions at once{said}"
        case "credentials" | "status":
            return f"The server {server!r} {_describe_status(failure)}."
        case "malformed":
            return f"The server {server!r} answered the connection with something that is not MCP: {detail}."
        case "too-large" | "disconnected" | "forbidden" | "login" | "unready":
            return f"The server {server!r} gave no answer that could be used."
    assert_never(kind)


def _describe_status(failure: TransportFailure) -> str:
    """Say what a status tells about the server: it is there, but starting, overloaded or broken."""
    state = "is starting or overloaded" if int(failure.detail) in BUSY else "failed"
    later = "" if failure.retry_after is None else f" and asks to come back in {failure.retry_after:.0f} s"
    said = f", with the words: {failure.words}" if failure.words else ""
    return f"{state} (HTTP {failure.detail}){later}{said}"


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
