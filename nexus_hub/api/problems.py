"""Errors as `application/problem+json` (RFC 9457), with a member `error` as the seed's clients read it."""

import json
import logging
import math
import traceback
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus_hub.errors import HubError, InvalidArguments, NotAuthenticated, RateLimited, TooLarge

logger = logging.getLogger(__name__)
_OPEN = {"headers", "env", "arguments"}
"""Members whose own members are named by the caller."""


class Json(JSONResponse):
    """JSON in ASCII, so that a lone surrogate in a tool's result gets through as it came."""

    def render(self, content: Any) -> bytes:
        """The body; a number that JSON does not know becomes null."""
        try:
            return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        except ValueError:
            return json.dumps(_finite(content), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


class Problem(Json):
    """One problem."""

    media_type = "application/problem+json"

    def __init__(
        self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **members: object
    ) -> None:
        title = code.replace("-", " ")
        body = {"type": f"urn:nexus-hub:problem:{code}", "title": title, "status": status, "detail": message}
        super().__init__(body | {"error": message, "code": code} | members, status_code=status, headers=headers)


def of_error(error: HubError) -> Problem:
    """The problem of one of the hub's own errors."""
    headers: dict[str, str] = {}
    members: dict[str, object] = {}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, InvalidArguments):
        members["problems"] = error.problems
    return Problem(error.status, error.code, error.message, headers=headers, **members)


def install(app: FastAPI, *, max_body_bytes: int) -> None:
    """Let every error of the app leave as a problem."""
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(psycopg.DataError, _unstorable)
    app.add_exception_handler(UnicodeEncodeError, _no_text)
    app.add_middleware(LastResort)
    app.add_middleware(BodyLimit, limit=max_body_bytes)


async def _hub_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)  # noqa: S101 - registered for it
    return of_error(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    """What is wrong with a request, place by place; never what was sent there."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    problems = [f"{_place(one)}: {_safe(one)}" for one in error.errors()]
    return Problem(422, "invalid-request", f"The request does not fit: {'; '.join(problems)}.", problems=problems)


def _place(problem: dict[str, Any]) -> str:
    """The way to a fault; names that the caller made up show as `*`."""
    steps = [str(step) for step in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        steps[-1] = "*"
    return ".".join("*" if before in _OPEN else step for before, step in zip(["", *steps], steps, strict=False))


def _safe(problem: dict[str, Any]) -> str:
    """Pydantic's own words, but for those that repeat the input."""
    repeats_input = {"json_invalid", "value_error", "uuid_parsing", "url_parsing"}
    return problem["type"].replace("_", " ") if problem["type"] in repeats_input else str(problem["msg"])


async def _unstorable(_request: Request, error: Exception) -> Response:
    """Text that can't be sent to PostgreSQL; what PostgreSQL itself says (with a SQLSTATE) is a defect of ours."""
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return Problem(
            400, "invalid-request", "The request holds text with U+0000, which can't be stored or looked for."
        )
    raise error


async def _no_text(_request: Request, _error: Exception) -> Response:
    return Problem(400, "invalid-request", "The request holds half a surrogate pair, which is no text.")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    message = f"{request.method} {request.url.path}: {error.detail}."
    return Problem(error.status_code, code, message, headers=dict(error.headers or {}))


class LastResort:
    """Answers an unexpected error with a bare 500; its message may hold anything and is not logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer what nobody else did."""
        started = False

        async def watching(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watching)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames)
            logger.error("unexpected %s at %s", type(error).__name__, where)
            if scope["type"] == "http" and not started:
                await Problem(500, "internal-error", "An unexpected error happened; the API's log says where.")(
                    scope, receive, send
                )


class BodyLimit:
    """Refuses bodies over a limit, by their declared length and by what arrives."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await of_error(TooLarge("A body", int(declared), self.limit))(scope, receive, send)
            return
        counted = _Counted(receive, send, self.limit)
        await self.app(scope, counted.receive, counted.send)
        if counted.refused and not counted.started:
            await of_error(counted.refused)(scope, receive, send)


class _Counted:
    """A request whose body is counted as it arrives; what the app says of a refused one does not go out."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0
        self.started = False
        self.refused: TooLarge | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            self.refused = TooLarge("A body", self._received, self._limit)
            raise self.refused
        return message

    async def send(self, message: Message) -> None:
        if self.refused is None or self.started:
            self.started = True
            await self._send(message)
