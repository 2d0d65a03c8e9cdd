"""The hub's API as an async client: for the command line and for other programs."""

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx
from httpx_sse import EventSource, SSEError

from nexus_hub import address
from nexus_hub.errors import ApiProblem, ConfigurationFault, HubUnavailable, RequestRefused
from nexus_hub.json_text import write
from nexus_hub.models import TERMINAL
from nexus_hub.paging import LARGEST

if TYPE_CHECKING:
    from nexus_hub.settings import Settings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PATIENCE_SECONDS = 60
_SILENCE_SECONDS = 45
"""A stream without a word for so long is dead: the hub writes a comment every 10 s."""
_REFUSED = {400, 413, 422}
_UNAVAILABLE = {502, 503, 504}
"""HTTP statuses given while the hub is being started again."""


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event of the hub: `state`, `progress` or `resync`."""

    name: str
    data: dict[str, Any]
    id: str | None = None


INSPECTION_SECONDS = 480.0
"""The longest wait for a request in which the hub opens a server, whose command may be fetched first, and reads it."""


class HubClient:
    """A connection to one hub.

    Raises:
        ApiProblem: from every method.
    """

    def __init__(self, url: str, token: str | None, *, timeout: float = 60) -> None:
        self.url = url
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {address.check_token(token)}"
        trust = _trust(url)
        # A transport of its own goes past the proxies of the environment.
        transport = httpx.AsyncHTTPTransport(verify=trust) if address.goes_direct(url) else None
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=timeout, verify=trust, transport=transport
        )

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """Make the client for the hub that the settings name, with the token or the home's service key."""
        return cls(settings.api_url, settings.find_token())

    @classmethod
    def from_environment(cls) -> Self:
        """Make the client for the hub that the environment names, without the settings, which take long to import.

        Raises:
            InvalidSetting: NEXUS_PORT is no port.
        """
        found = address.find_hub(os.environ)
        if found is None:
            from nexus_hub.settings import load

            return cls.from_settings(load())  # takes other ways to write a number, and says what is wrong
        return cls(*found)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, /, **query: object
    ) -> dict[str, Any]:
        """Send one request; return its answer's JSON object, empty where there is none."""
        params = {key: _write(value) for key, value in query.items() if value is not None}
        with _problems(self.url):
            answer = await self._http.request(
                method, path, content=_encode(body), params=params, timeout=_patience(method, path)
            )
        if answer.is_success:
            return _object(answer, self.url)
        raise _problem(answer)

    async def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Submit a job, in the form of `POST /v1/jobs`; return its row."""
        return await self.request("POST", "/v1/jobs", job)

    async def submit_batch(self, jobs: Sequence[dict[str, Any]]) -> list[str]:
        """Submit up to 1,000 jobs that share a flow run, all or none; return their ids, in order."""
        ids: list[str] = (await self.request("POST", "/v1/jobs:batch", {"jobs": list(jobs)}))["ids"]
        return ids

    async def job(self, job_id: str) -> dict[str, Any]:
        """Read a job's row."""
        return await self.request("GET", f"/v1/jobs/{job_id}")

    async def run_again(self, job_id: str) -> dict[str, Any]:
        """Make a job's call anew, as a job of one's own; return its row."""
        return await self.request("POST", f"/v1/jobs/{job_id}:run-again")

    async def events(self, job_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield the events of a job until it has ended, or of all jobs; see docs/live_status.md.

        It also ends when the hub stops; it is up to the caller to ask again.
        """
        path = "/v1/jobs/events" if job_id is None else f"/v1/jobs/{job_id}/events"
        with _problems(self.url):
            async with self._http.stream("GET", path, timeout=httpx.Timeout(30, read=_SILENCE_SECONDS)) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _problem(answer)
                try:
                    async for sent in EventSource(answer).aiter_sse():
                        if sent.data:
                            yield Event(sent.event, json.loads(sent.data), sent.id or None)
                except (ValueError, SSEError):
                    raise _not_ours(answer.status_code, self.url) from None

    async def watch(self, job_id: str, *, timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield a job's row now and after each change, until it has ended or the time-out (seconds) has passed.

        After a disconnection it asks again for up to a minute. It yields at least one row.
        """
        until = None if timeout is None else time.monotonic() + timeout
        job: dict[str, Any] = {}
        outage = _Outage()
        while not job or until is None or time.monotonic() < until:
            try:
                async with aclosing(self.events(job_id)) as events:
                    while (event := await _next(events, until if job else None)) is not None:
                        outage.end()
                        if event.data.get("version", 0) > job.get("version", 0):
                            job = job | event.data
                            yield job
                        if job.get("status") in TERMINAL:
                            return
                problem = None
            except ApiProblem as error:
                problem = error
            await outage.pause(problem, self.url, until)

    async def items(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Read all items of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.request("GET", path, None, limit=LARGEST, cursor=cursor, **query)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def _patience(method: str, path: str) -> Any:
    """Give the time-out of a request: those that reach a server take as long as that does."""
    return INSPECTION_SECONDS if method == "POST" and path.startswith("/v1/servers") else httpx.USE_CLIENT_DEFAULT


def _write(value: object) -> str:
    """Write a parameter of a query: a truth as JSON has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Outage:
    """A time without the hub: its length so far, and the pause before the next request."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def end(self) -> None:
        """Begin anew with the next failure: the hub has answered."""
        self._since, self._pause = None, _FIRST_PAUSE

    async def pause(self, problem: ApiProblem | None, url: str, until: float | None) -> None:
        """Wait before the hub is asked again.

        Raises:
            ApiProblem: it has been away for too long, or says something that will not change.
        """
        problem = problem or HubUnavailable(0, "hub-unavailable", f"The hub at {url} ended the stream of events.")
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not isinstance(problem, HubUnavailable) or now - self._since > _PATIENCE_SECONDS:
            raise problem
        await asyncio.sleep(self._pause if until is None else min(self._pause, max(until - now, 0)))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


async def _next(events: AsyncIterator[Event], until: float | None) -> Event | None:
    """Wait for the next event; None at the end of the stream or of the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if until is None else max(until - time.monotonic(), 0)):
            return await anext(events, None)
    return None


@contextmanager
def _problems(url: str) -> Iterator[None]:
    """Turn the errors of the HTTP client into problems."""
    try:
        yield
    except httpx.InvalidURL:
        message = "The hub's URL, or the name or id that was given, can't be part of a URL."
        raise RequestRefused(400, "invalid-request", message) from None
    except httpx.HTTPError as error:
        message = f"The hub at {url} does not answer ({type(error).__name__}). Is it running? nexus-hub up"
        raise HubUnavailable(0, "hub-unavailable", message) from None


def _trust(url: str) -> ssl.SSLContext | bool:
    """Trust nobody where no TLS is spoken: reading the certificates of all authorities takes long."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http:") else True


def _encode(body: dict[str, Any] | None) -> bytes | None:
    """Write JSON in ASCII: an argument may hold a lone surrogate."""
    return None if body is None else write(body)


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


def _read_faults(body: dict[str, Any]) -> list[ConfigurationFault]:
    return [ConfigurationFault(tuple(one["path"]), one["problem"]) for one in body.get("faults", ())]


def _problem(answer: httpx.Response) -> ApiProblem:
    status = answer.status_code
    kind = RequestRefused if status in _REFUSED else HubUnavailable if status in _UNAVAILABLE else ApiProblem
    try:
        body = answer.json()
        return kind(status, body["code"], body["detail"], _read_faults(body))
    except (ValueError, KeyError, TypeError):
        return kind(status, "http-error", f"The hub answered {status}.")
