"""The hub's API as an async client: for the command line and for other programs."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from nexus_hub.settings import Settings

TERMINAL = {"completed", "failed", "cancelled"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PATIENCE_SECONDS = 60
_AWAY = {0, 502, 503, 504}
"""What is answered while the hub is being started again; 0 is no answer."""
_SILENCE_SECONDS = 45
"""A stream without a word for so long is dead: the hub writes a comment every 10 s."""


class ApiProblem(Exception):  # noqa: RUF100, N818
    """The API answered with a problem, or not at all (`status` 0)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event of the hub: `state`, `progress` or `resync`."""

    name: str
    data: dict[str, Any]
    id: str | None = None


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
        with _problems(self.url):
            answer = await self._http.request(method, path, content=_encoded(body), params=params)
        if answer.is_success:
            return _object(answer, self.url)
        raise _problem(answer)

    async def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Submit a job, in the form of `POST /v1/jobs`; its row."""
        return await self.request("POST", "/v1/jobs", job)

    async def submit_batch(self, jobs: Sequence[dict[str, Any]]) -> list[str]:
        """Submit up to 1,000 jobs that share a flow run, all or none; their ids, in order."""
        ids: list[str] = (await self.request("POST", "/v1/jobs:batch", {"jobs": list(jobs)}))["ids"]
        return ids

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job's row."""
        return await self.request("GET", f"/v1/jobs/{job_id}")

    async def events(self, job_id: str | None = None) -> AsyncGenerator[Event, None]:
        """The events of a job until it has ended, or of all jobs; see docs/live_status.md.

        It also ends when the hub stops; it is up to the caller to ask again.
        """
        path = "/v1/jobs/events" if job_id is None else f"/v1/jobs/{job_id}/events"
        with _problems(self.url):
            async with self._http.stream("GET", path, timeout=httpx.Timeout(30, read=_SILENCE_SECONDS)) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _problem(answer)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise _not_ours(answer.status_code, self.url)
                try:
                    async for event in _parsed(answer.aiter_lines()):
                        yield event
                except ValueError:
                    raise _not_ours(answer.status_code, self.url) from None

    async def watch(self, job_id: str, *, timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """A job's row now and after each change, until it has ended or the time-out (seconds) has passed.

        A lost connection is made again for up to a minute. At least one row is given.
        """
        until = None if timeout is None else time.monotonic() + timeout
        job: dict[str, Any] = {}
        lost = _Lost()
        while not job or not _passed(until):
            try:
                async with aclosing(self.events(job_id)) as events:
                    while (event := await _next(events, until if job else None)) is not None:
                        lost.found()
                        if event.data.get("version", 0) > job.get("version", 0):
                            job = job | event.data
                            yield job
                        if job.get("status") in TERMINAL:
                            return
                problem = None
            except ApiProblem as error:
                problem = error
            await lost.pause(problem, self.url, until)

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


class _Lost:
    """How long the hub has been away, and when it is asked again."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def found(self) -> None:
        """It is there again."""
        self._since, self._pause = None, _FIRST_PAUSE

    async def pause(self, problem: ApiProblem | None, url: str, until: float | None) -> None:
        """Wait before it is asked again.

        Raises:
            ApiProblem: it has been away for too long, or says something that will not change.
        """
        problem = problem or ApiProblem(0, "hub-unavailable", f"The hub at {url} ended the stream of events.")
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if problem.status not in _AWAY or now - self._since > _PATIENCE_SECONDS:
            raise problem
        await asyncio.sleep(self._pause if until is None else min(self._pause, max(until - now, 0)))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def _passed(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


async def _next(events: AsyncIterator[Event], until: float | None) -> Event | None:
    """The next event; None at the end of the stream or of the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if until is None else max(until - time.monotonic(), 0)):
            return await anext(events, None)
    return None


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events in the lines of a stream; each event ends with an empty line."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
            continue
        if "data" in fields:
            yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
        fields = {}


@contextmanager
def _problems(url: str) -> Iterator[None]:
    """Let what goes wrong on the way leave as a problem."""
    try:
        yield
    except httpx.InvalidURL:
        message = "The hub's URL, or the name or id that was given, can't be part of a URL."
        raise ApiProblem(400, "invalid-request", message) from None
    except httpx.HTTPError as error:
        message = f"The hub at {url} does not answer ({type(error).__name__}). Is it running? nexus-hub up"
        raise ApiProblem(0, "hub-unavailable", message) from None


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
    raise _not_ours(answer.status_code, url)


def _not_ours(status: int, url: str) -> ApiProblem:
    return ApiProblem(status, "http-error", f"What answers at {url} is not the hub's API; see NEXUS_URL.")


def _problem(answer: httpx.Response) -> ApiProblem:
    try:
        body = answer.json()
        return ApiProblem(answer.status_code, body["code"], body["detail"])
    except (ValueError, KeyError, TypeError):
        return ApiProblem(answer.status_code, "http-error", f"The hub answered {answer.status_code}.")
