"""Errors as `application/problem+json` (RFC 9457), with a member `error` as the seed's clients read it."""

import math
import re
from collections.abc import Callable, Coroutine
from dataclasses import asdict, is_dataclass
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from nexus_hub.api.challenges import make_challenge
from nexus_hub.errors import (
    HubError,
    InsufficientScope,
    InvalidArguments,
    InvalidConfiguration,
    NotAuthenticated,
    RateLimited,
    RequestTimedOut,
    TooMany,
)
from nexus_hub.json_object import finite
from nexus_hub.json_text import write

CODE = "nexus_hub.problem"
"""The member of a request's scope that holds the code of the problem it was answered with."""
_OPEN = {"headers", "env", "arguments"}
"""Members whose own members are named by the caller."""
_WORDS = re.compile(r"[A-Za-z]+(?:[_-][A-Za-z]+)*")
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_LONGEST_NAME = 40
_MOST_FAULTS = 20


class Json(JSONResponse):
    """JSON in ASCII, so that a lone surrogate in a tool's result gets through as it came."""

    def render(self, content: Any) -> bytes:
        """Write the body; a number that JSON does not know becomes null."""
        plain = asdict(content) if is_dataclass(content) and not isinstance(content, type) else content
        try:
            return write(plain, _to_json)
        except ValueError:
            return write(finite(plain), _to_json)


def _to_json(value: Any) -> Any:
    return _ANY.dump_python(value, mode="json")


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


def from_error(error: HubError, challenge: str | None = None, **members: object) -> Problem:
    """Make the problem of one of the hub's own errors, with the challenge to send another token, if there is one."""
    headers: dict[str, str] = {}
    if challenge or isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = challenge or "Bearer"
    if isinstance(error, InsufficientScope):
        members["scopes"] = error.scopes
    if isinstance(error, RateLimited | TooMany):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, TooMany):
        members["bound"] = error.bound
    if isinstance(error, RequestTimedOut):
        headers["Connection"] = "close"
    if isinstance(error, InvalidArguments):
        members["problems"] = error.problems
    if isinstance(error, InvalidConfiguration):
        members["faults"] = [{"path": fault.path, "problem": fault.problem} for fault in error.faults]
    return Problem(error.status, error.code, error.message, headers=headers, **members)


def install(app: FastAPI) -> None:
    """Let every error that the app's routes raise leave as a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def _answer_hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)  # noqa: S101 - registered for it
    return from_error(error, make_challenge(error, request))


async def _refuse_invalid(_request: Request, error: Exception) -> Response:
    """Name the faults of a request, place by place; never what was sent there."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    faults = error.errors()
    problems = [f"{_place(one)}: {_fault(one)}" for one in faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        problems.append(f"and {len(faults) - _MOST_FAULTS} more")
    return Problem(422, "invalid-request", f"The request does not fit: {'; '.join(problems)}.", problems=problems)


def _place(problem: dict[str, Any]) -> str:
    """Name the way to a fault; names that the caller made up show as `*`, unless they are plain words."""
    steps = [str(step) for step in problem["loc"]]
    if problem["type"] == "extra_forbidden" and not is_plain(steps[-1]):
        steps[-1] = "*"
    return ".".join("*" if before in _OPEN else step for before, step in zip(["", *steps], steps, strict=False))


def is_plain(name: str) -> bool:
    """Tell if a name is a few words, such as a misspelled member, and no key, token or id."""
    return len(name) <= _LONGEST_NAME and _WORDS.fullmatch(name) is not None


def _fault(problem: dict[str, Any]) -> str:
    """Repeat Pydantic's words, but for those that repeat the input."""
    if problem["type"] == "uuid_parsing":
        return "this is no id; copy it whole from the list"
    repeats_input = {"json_invalid", "value_error", "url_parsing"}
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
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_find_methods(request))
    return Problem(error.status_code, code, message, headers=headers)


def _find_methods(request: Request) -> list[str]:
    """Find the methods of all routes of a request's path; the framework names those of one of them."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.path_regex.match(request.scope["path"]):
            found |= route.methods or set()
    return sorted(found)


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Coroutine[Any, Any, Response]]] = {
    HubError: _answer_hub_error,
    RequestValidationError: _refuse_invalid,
    HTTPException: _answer_http,
    psycopg.DataError: _refuse_unstorable,
    UnicodeEncodeError: _refuse_half_text,
}
