"""The hub's API as an async client: for the command line and for other programs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from nexus_hub.settings import Settings

TERMINAL = {"completed", "failed", "cancelled"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


class ApiProblem(Exception):  # noqa: RUF100, N818
    """The API answered with a problem, or not at all (`status` 0)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(message)


class HubClient:
    """Talks to one hub.

    Raises:
        ApiProblem: from every method.
    """

    def __init__(self, url: str, token: str | None, *, timeout: float = 60) -> None:
        self.url = url
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {_header(token)}"
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The client for the hub that the settings name, with the token or the home's service key."""
        return cls(settings.api_url, _token(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, /, **query: object
    ) -> dict[str, Any]:
        """One request; its answer's JSON object, empty where there is none."""
        params = {key: str(value) for key, value in query.items() if value is not None}
        try:
            answer = await self._http.request(method, path, content=_encoded(body), params=params)
        except httpx.InvalidURL:
            message = "The hub's URL, or the name or id that was given, can't be part of a URL."
            raise ApiProblem(400, "invalid-request", message) from None
        except httpx.HTTPError as error:
            message = f"The hub at {self.url} does not answer ({type(error).__name__}). Is it running? nexus-hub up"
            raise ApiProblem(0, "hub-unavailable", message) from None
        if answer.is_success:
            return _object(answer, self.url)
        raise _problem(answer)

    async def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Submit a job, in the form of `POST /v1/jobs`; its row."""
        return await self.request("POST", "/v1/jobs", job)

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job's row."""
        return await self.request("GET", f"/v1/jobs/{job_id}")

    async def watch(self, job_id: str, *, timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """A job's row now and after each change, until it has ended or the time-out (seconds) has passed."""
        until = None if timeout is None else time.monotonic() + timeout
        seen, pause = -1, _FIRST_PAUSE
        while True:
            job = await self.job(job_id)
            if job["version"] != seen:
                seen, pause = job["version"], _FIRST_PAUSE
                yield job
            if job["status"] in TERMINAL or (until is not None and time.monotonic() >= until):
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def items(self, path: str, **query: object) -> list[dict[str, Any]]:
        """All items of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.request("GET", path, None, cursor=cursor, **query)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def _token(settings: Settings) -> str | None:
    for secret in (settings.token, settings.service_key):
        if secret is not None:
            return secret.get_secret_value()
    path: Path = settings.home / "service.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _header(token: str) -> str:
    if token.isascii() and token.isprintable():
        return token
    raise ApiProblem(0, "not-authenticated", "The token holds characters that no token has; see NEXUS_TOKEN.")


def _encoded(body: dict[str, Any] | None) -> bytes | None:
    """JSON in ASCII: an argument may hold a lone surrogate."""
    return None if body is None else json.dumps(body, allow_nan=False).encode()


def _object(answer: httpx.Response, url: str) -> dict[str, Any]:
    try:
        parsed = answer.json() if answer.content else {}
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    raise ApiProblem(answer.status_code, "http-error", f"What answers at {url} is not the hub's API; see NEXUS_URL.")


def _problem(answer: httpx.Response) -> ApiProblem:
    try:
        body = answer.json()
        return ApiProblem(answer.status_code, body["code"], body["detail"])
    except (ValueError, KeyError, TypeError):
        return ApiProblem(answer.status_code, "http-error", f"The hub answered {answer.status_code}.")
