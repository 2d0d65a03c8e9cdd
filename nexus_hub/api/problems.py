"""Errors as `application/problem+json` (RFC 9457), with a member `error` as the seed's clients read it."""

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from nexus_hub.errors import HubError, InvalidArguments, NotAuthenticated, RateLimited
from nexus_hub.json_object import finite

CODE = "nexus_hub.problem"
"""The member of a request's scope that holds the code of the problem it was answered with."""
_OPEN = {"headers", "env", "arguments"}
"""Members whose own members are named by the caller."""


class Json(JSONResponse):
    """JSON in ASCII, so that a lone surrogate in a tool's result gets through as it came."""

    def render(self, content: Any) -> bytes:
        """Write the body; a number that JSON does not know becomes null."""
        try:
            return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        except ValueError:
            return json.dumps(finite(content), separators=(",", ":")).encode()


class Problem(Json):
    """A problem as the answer to a request."""

    media_type = "application/problem+json"

    def __init__(
        self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **members: object
    ) -> None:
        self.code = code
        title = code.replace("-", " ")
        body = {"type": f"urn:nexus-hub:problem:{code}", "title": title, "status": status, "detail": message}
        super().__init__(body | {"error": message, "code": code} | members, status_code=status, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and leave the code for the log."""
        scope[CODE] = self.code
        await super().__call__(scope, receive, send)


def from_error(error: HubError) -> Problem:
    """Make the problem of one of the hub's own errors."""
    headers: dict[str, str] = {}
    members: dict[str, object] = {}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, InvalidArguments):
        members["problems"] = error.problems
    return Problem(error.status, error.code, error.message, headers=headers, **members)


def install(app: FastAPI) -> None:
    """Let every error that the app's routes raise leave as a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def _answer_hub_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)  # noqa: S101 - registered for it
    return from_error(error)


async def _refuse_invalid(_request: Request, error: Exception) -> Response:
    """Name the faults of a request, place by place; never what was sent there."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    problems = [f"{_place(one)}: {_fault(one)}" for one in error.errors()]
    return Problem(422, "invalid-request", f"The request does not fit: {'; '.join(problems)}.", problems=problems)


def _place(problem: dict[str, Any]) -> str:
    """Name the way to a fault; names that the caller made up show as `*`."""
    steps = [str(step) for step in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        steps[-1] = "*"
    return ".".join("*" if before in _OPEN else step for before, step in zip(["", *steps], steps, strict=False))


def _fault(problem: dict[str, Any]) -> str:
    """Repeat Pydantic's words, but for those that repeat the input."""
    repeats_input = {"json_invalid", "value_error", "uuid_parsing", "url_parsing"}
    return problem["type"].replace("_", " ") if problem["type"] in repeats_input else str(problem["msg"])


async def _refuse_unstorable(_request: Request, error: Exception) -> Response:
    """Refuse text that can't be sent to PostgreSQL; what PostgreSQL itself says, with a SQLSTATE, is a defect."""
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return Problem(
            400, "invalid-request", "The request holds text with U+0000, which can't be stored or looked for."
        )
    raise error


async def _refuse_half_text(_request: Request, _error: Exception) -> Response:
    return Problem(400, "invalid-request", "The request holds half a surrogate pair, which is no text.")


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    message = f"{request.method} {request.url.path}: {error.detail}."
    return Problem(error.status_code, code, message, headers=dict(error.headers or {}))


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Coroutine[Any, Any, Response]]] = {
    HubError: _answer_hub_error,
    RequestValidationError: _refuse_invalid,
    HTTPException: _answer_http,
    psycopg.DataError: _refuse_unstorable,
    UnicodeEncodeError: _refuse_half_text,
}
