"""A bridge from stdio to the hub's `/mcp`, for clients that speak stdio only.

It passes messages as they came, in both directions and both eras, and speaks no MCP of its own but for what HTTP wants
beside them: headers, the session, the stream of what the server says unasked. The transports of the SDK would join up
too, but read every message into their own models and end for good at the first connection that fails.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from nexus_hub.gateway.frames import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    PARSE_ERROR,
    SESSION,
    VERSION,
    Frame,
    Marks,
    name_id,
    one_line,
    read_detail,
    read_frame,
    routing_headers,
    split_batch,
)
from nexus_hub.json_text import write

PATIENCE_SECONDS = 10.0
"""The time for which a hub that refuses connections is tried again: as long as it takes to start again."""
_NOTICE_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_LONGEST_STREAM_PAUSE = 15.0
_LISTS = ("tools", "resources", "prompts")
_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout)


class BridgeFailure(Exception):
    """A request that the hub gave no answer to, and why."""


@dataclass
class _Session:
    """A session of the eras that have them; `asked` are the ids of the requests that the hub made in it."""

    id: str | None
    version: str | None
    asked: set[tuple[str, str]] = field(default_factory=set)
    listens: frozenset[str] = frozenset()


class Bridge:
    """Passes the messages of one client to the hub, and what comes back to `say`; `tell` is for the person's eyes."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        url: str,
        say: Callable[[bytes], Awaitable[None]],
        tell: Callable[[str], None],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._http, self._url, self._say, self._tell = http, url, say, tell
        self._patience = patience
        self._shown = str(httpx2.URL(url).copy_with(userinfo=b"", query=None))
        self._marks = Marks()
        self._session: _Session | None = None
        self._initialize: Frame | None = None
        self._modern: str | None = None
        self._kept: dict[tuple[str, str], Frame] = {}
        self._under_way: dict[tuple[str, str], tuple[Frame, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reopening = asyncio.Lock()
        self._away = False

    async def take(self, line: bytes) -> None:
        """Take a line of the client; it returns once the next one may be taken."""
        if not line:
            return
        try:
            frame = read_frame(line)
        except ValueError as error:
            reason = "it is not JSON" if isinstance(error, UnicodeDecodeError | json.JSONDecodeError) else str(error)
            await self._answer(None, PARSE_ERROR, f"The message can't be read: {reason}.")
            return
        for one in [frame] if isinstance(frame, Frame) else split_batch(frame):
            await self._take(one)

    async def _take(self, frame: Frame) -> None:
        if frame.is_request and frame.method == "initialize":
            self._initialize, self._kept = frame, {}
            await self._request(frame)  # whatever follows needs its session
        elif frame.is_request:
            task = self._start(self._request(frame))
            self._under_way[frame.key] = frame, task
            task.add_done_callback(lambda _: self._forget(frame, task))
        elif frame.method is not None:
            await self._notify(frame)
        elif frame.is_answer:
            if self._session is None or frame.key in self._session.asked:
                self._start(self._post_quietly(frame))
        else:
            await self._answer(frame.content.get("id"), INVALID_REQUEST, "The message is no JSON-RPC.")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, frame: Frame, task: asyncio.Task[None]) -> None:
        if self._under_way.get(frame.key) == (frame, task):
            del self._under_way[frame.key]

    async def drain(self, seconds: float) -> None:
        """Wait for the answers that are on their way; subscriptions have none."""
        waiting = [task for frame, task in self._under_way.values() if frame.method != "subscriptions/listen"]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)

    async def close(self, seconds: float) -> None:
        """Break off what is under way, and end the session."""
        for task in self._tasks:
            task.cancel()
        session, self._session = self._session, None
        with suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                if session is not None and session.id is not None:
                    await self._http.delete(self._url, headers=_session_headers(session))

    async def _request(self, frame: Frame) -> None:
        try:
            await self._exchange(frame)
        except BridgeFailure as failure:
            await self._answer(frame.content["id"], CONNECTION_CLOSED, str(failure))

    async def _exchange(self, frame: Frame, *, quiet: bool = False) -> None:
        """Send a request and pass on all that comes back; `quiet` keeps the answer itself.

        Raises:
            BridgeFailure: no answer came.
        """
        for again in (True, False):
            session = None if frame.version or frame.method == "initialize" else self._session
            async with self._post(frame, session) as response:
                if again and not quiet and response.status_code == 404 and session is not None and session.id:
                    lost = session  # the request was not looked at
                else:
                    await self._receive(response, frame, quiet=quiet)
                    self._keep(frame)
                    return
            await self._reopen(lost)

    @asynccontextmanager
    async def _post(self, frame: Frame, session: _Session | None) -> AsyncIterator[httpx2.Response]:
        """Send a message; while the hub takes no connection, again and again."""
        headers, until, pause = self._headers(frame, session), time.monotonic() + self._patience, _FIRST_PAUSE
        repeated: tuple[type[Exception], ...] = (httpx2.TransportError,) if frame.is_repeatable else _UNSENT
        while True:
            request = self._http.build_request("POST", self._url, content=frame.body, headers=headers)
            try:
                response = await self._http.send(request, stream=True)
                break
            except repeated as error:
                self._tell_once(error)
                if time.monotonic() >= until:
                    raise self._to_failure(frame, error) from None
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except httpx2.HTTPError as error:
                raise self._to_failure(frame, error) from None
        self._tell_back()
        try:
            yield response
        except httpx2.HTTPError as error:
            raise self._to_failure(frame, error) from None
        finally:
            await response.aclose()

    def _headers(self, frame: Frame, session: _Session | None) -> dict[str, str]:
        if frame.is_request and frame.version:
            self._modern = frame.version
            return _ACCEPT | routing_headers(frame, frame.version, self._marks)
        if frame.method == "initialize":
            return _ACCEPT
        if session is not None:
            return _ACCEPT | _session_headers(session)
        return _ACCEPT | ({VERSION: self._modern} if self._modern else {})

    async def _receive(self, response: httpx2.Response, frame: Frame, *, quiet: bool) -> None:
        """Pass on what a response brings.

        Raises:
            BridgeFailure: there is no answer in it.
        """
        if frame.method == "initialize" and response.is_success:
            self._session = _Session(response.headers.get(SESSION), None)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.is_success and kind == "text/event-stream":
            async for data in _events(response):
                if await self._pass(data, frame, quiet=quiet):
                    return
            raise BridgeFailure(f"The hub at {self._shown} broke off without an answer.{_outcome(frame)}")
        content = await response.aread()
        if not (content and kind == "application/json" and await self._pass(content, frame, quiet=quiet)):
            raise BridgeFailure(self._explain(response, content))

    async def _pass(self, data: bytes, frame: Frame | None, *, quiet: bool = False) -> bool:
        """Pass on a message of the hub; True if it is the answer to the request.

        Raises:
            BridgeFailure: it is the answer to a quiet request, and an error.
        """
        try:
            heard = read_frame(data)
        except ValueError:
            return False
        if not isinstance(heard, Frame) or not (heard.method or heard.is_answer):
            return False
        if frame is None or not heard.is_answer:
            if heard.is_request and self._session is not None:
                self._session.asked.add(heard.key)
            await self._say(one_line(data))
            return False
        self._learn(frame, heard)
        if quiet:
            if "error" in heard.content:
                raise BridgeFailure(f"The hub at {self._shown} opens no new session.")
            return True
        if heard.key != frame.key:  # of a request that could not be read the id is null
            data = write({**heard.content, "id": frame.content["id"]})
        await self._say(one_line(data))
        return True

    def _learn(self, frame: Frame, answer: Frame) -> None:
        result = answer.content.get("result")
        if frame.method == "tools/list":
            self._marks.learn(answer)
        if frame.method == "initialize" and self._session is not None:
            if not isinstance(result, dict):
                self._session = None
                return
            version, offers = result.get("protocolVersion"), result.get("capabilities")
            self._session.version = version if isinstance(version, str) else None
            if isinstance(offers, dict):
                self._session.listens = frozenset(
                    name for name in _LISTS if isinstance(of := offers.get(name), dict) and of.get("listChanged")
                )

    def _keep(self, frame: Frame) -> None:
        """Remember what a new session has to be told."""
        if frame.version is None and frame.method in {"logging/setLevel", "resources/subscribe"}:
            self._kept[frame.method, str(frame.params.get("uri"))] = frame
        elif frame.method == "resources/unsubscribe":
            self._kept.pop(("resources/subscribe", str(frame.params.get("uri"))), None)

    async def _reopen(self, lost: _Session) -> None:
        """Open a session in place of one that the hub has forgotten, as the client opened its own.

        Raises:
            BridgeFailure: it opens none, or speaks another version in it.
        """
        async with self._reopening:
            if self._session is not lost:
                return
            if self._initialize is None:
                raise BridgeFailure(f"The hub at {self._shown} has forgotten the session.")
            try:
                await self._exchange(self._initialize, quiet=True)
                opened = self._session
                if opened is None or opened.version != lost.version:
                    raise BridgeFailure(f"The hub at {self._shown} speaks another version now; start the client again.")
            except BridgeFailure:
                self._session = lost  # the next request tries again
                raise
            await self._notify(Frame.of({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            for frame in list(self._kept.values()):
                with suppress(BridgeFailure):
                    await self._exchange(frame, quiet=True)
        for name in sorted(opened.listens):  # nobody knows what has changed meanwhile
            await self._say(Frame.of({"jsonrpc": "2.0", "method": f"notifications/{name}/list_changed"}).body)

    async def _notify(self, frame: Frame) -> None:
        if frame.method == "notifications/cancelled":
            asked, task = self._under_way.get(name_id(frame.params.get("requestId")), (None, None))
            if asked is not None and task is not None:
                if not asked.version:  # in the other era, the end of the stream says it
                    await self._post_quietly(frame)
                task.cancel()
                return
        if self._session is None and self._modern:
            return  # in that era, a client has no others
        await self._post_quietly(frame)
        if frame.method == "notifications/initialized" and self._session is not None and self._session.id:
            self._start(self._listen(self._session))

    async def _post_quietly(self, frame: Frame) -> None:
        """Send a message that gets no answer; one that does not arrive is lost, as it would be on a pipe."""
        with suppress(BridgeFailure, TimeoutError):
            async with asyncio.timeout(_NOTICE_SECONDS), self._post(frame, self._session):
                pass

    async def _listen(self, session: _Session) -> None:
        """Pass on what the hub says unasked, for as long as the session lasts."""
        pause, last = _FIRST_PAUSE, ""
        while self._session is session:
            headers = _session_headers(session) | {"accept": "text/event-stream"}
            headers |= {"last-event-id": last} if last else {}
            with suppress(httpx2.HTTPError):
                async with self._http.stream("GET", self._url, headers=headers) as response:
                    if response.status_code == 404:
                        with suppress(BridgeFailure):
                            await self._reopen(session)
                    elif response.is_client_error:
                        return
                    elif response.is_success:
                        pause = _FIRST_PAUSE
                        async for event in httpx2.EventSource(response, max_event_size=None):
                            last = event.id or last
                            await self._pass(_encode(event.data), None)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_STREAM_PAUSE)

    async def _answer(self, ident: object, code: int, text: str) -> None:
        """Answer in the hub's place."""
        error = {"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": text}}
        await self._say(write(error))

    def _to_failure(self, frame: Frame, error: Exception) -> BridgeFailure:
        self._tell_once(error)
        if isinstance(error, _UNSENT):
            return BridgeFailure(f"The hub at {self._shown} does not answer. Is it running? nexus-hub up")
        kind = type(error).__name__
        return BridgeFailure(f"The connection to the hub at {self._shown} broke ({kind}).{_outcome(frame)}")

    def _explain(self, response: httpx2.Response, content: bytes) -> str:
        """Say what an answer means that is no JSON-RPC."""
        status, detail = response.status_code, read_detail(content)
        if status == 401:
            advice = "See NEXUS_TOKEN."
            return (
                f"The hub at {self._shown} does not know who asks: {detail or 'the token is missing or wrong'} {advice}"
            )
        if detail:
            return f"The hub at {self._shown} answered {status}: {detail}"
        if response.is_success or response.is_redirect or status in {404, 405}:
            return f"Nothing at {self._shown} answers as the hub's /mcp does ({status}); see NEXUS_URL."
        return f"The hub at {self._shown} answered {status}."

    def _tell_once(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self._tell(f"The hub at {self._shown} does not answer ({type(error).__name__}); it is tried again.")

    def _tell_back(self) -> None:
        if self._away:
            self._away = False
            self._tell(f"The hub at {self._shown} answers again.")


def _session_headers(session: _Session) -> dict[str, str]:
    headers = {SESSION: session.id, VERSION: session.version}
    return {name: value for name, value in headers.items() if value}


async def _events(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Read the data of a stream's events; those that only keep it open have none."""
    async for event in httpx2.EventSource(response, max_event_size=None):
        if event.data:
            yield _encode(event.data)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _outcome(frame: Frame) -> str:
    return "" if frame.is_repeatable else " It is not known whether the request was carried out."
