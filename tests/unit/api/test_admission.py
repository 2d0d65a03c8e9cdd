"""Admission: the token first, then the size, then the body; and turns of a user's requests."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Message

from nexus_hub import memory
from nexus_hub.access.tokens import Bearer
from nexus_hub.access.turns import MOST_WAITING
from nexus_hub.api import middleware, problems
from nexus_hub.errors import NotAuthenticated
from nexus_hub.models import OPERATOR, Principal

USERS = {
    "ann": Principal(UUID(int=1)),
    "anns-phone": Principal(UUID(int=1), frozenset({"jobs"})),
    "bob": Principal(UUID(int=2)),
    "operator": OPERATOR,
    "guest": Principal(UUID(int=3)),
}
AT_ONCE = 3
METADATA = "https://hub.example/.well-known/oauth-protected-resource"


class Tokens:
    """Tokens that are the names of their holders."""

    async def bearer(self, token: str | None, _address: str) -> Bearer:
        if token not in USERS:
            raise NotAuthenticated
        return Bearer(USERS[token], "/stay" if token == "guest" else None)


class Room:
    """An app that notes who is in it, and lets them out when told to."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0
        self.out = asyncio.Event()
        self.app = app = FastAPI(default_response_class=problems.Json)
        problems.install(app)
        middleware.install(
            app,
            max_body_bytes=1000,
            max_body_values=100,
            body_seconds=0.1,
            user_requests=AT_ONCE,
            user_calls=AT_ONCE,
        )
        app.state.authenticator, app.state.public_url = Tokens(), "https://hub.example"

        @app.post("/body")
        async def body(given: dict[str, int]) -> Any:
            return given

        @app.post("/raw")
        async def raw(request: Request) -> Any:
            return len(await request.body())

        @app.get("/stay/{name}")
        async def stay(name: str) -> Any:
            self.inside.append(name)
            self.most = max(self.most, len(self.inside))
            await self.out.wait()
            self.inside.remove(name)
            return name

        @app.get("/fail")
        async def fail() -> Any:
            raise ValueError

        @app.get("/large")
        async def large() -> Response:
            return Response(b"x" * 200_000)

        @app.get("/stream")
        async def stream() -> Response:
            async def events() -> Any:
                yield b": one\n\n"
                await self.out.wait()

            return StreamingResponse(events(), media_type="text/event-stream")

    async def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        *,
        headers: dict[str, str] | None = None,
        receive: Callable[[], Awaitable[Message]] | None = None,
        send: Callable[[Message], Awaitable[None]] | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request by ASGI; its status, headers and body."""
        sent = {"authorization": f"Bearer {token}", "content-type": "application/json"} | (headers or {})
        told: list[Message] = []

        async def keep(message: Message) -> None:
            told.append(message)
            if send is not None:
                await send(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("hub", 80),
            "client": ("x", 1),
            "root_path": "",
        }
        await self.app(scope, receive or no_body(), keep)
        start, body = told[0], b"".join(message.get("body", b"") for message in told[1:])
        got = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return start["status"], got, json.loads(body) if "json" in got.get("content-type", "") else body


async def nothing_more() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def no_body() -> Callable[[], Awaitable[Message]]:
    """The end of a request without a body; then nothing more is heard of the client."""
    left: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await nothing_more()

    return receive


async def unread() -> Message:
    raise AssertionError("the body was read")


def parts(*bodies: bytes) -> Callable[[], Awaitable[Message]]:
    """A body in parts; the last one, if it is empty, never comes."""
    left = list(bodies)

    async def receive() -> Message:
        if not left or not left[0]:
            return await nothing_more()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/body", {}),
        ("POST", "/body", {"content-length": "10"}),
        ("POST", "/body", {"content-length": "99999999"}),
        ("POST", "/body", {"content-length": "-1"}),
        ("POST", "/body", {"transfer-encoding": "chunked"}),
        ("POST", "/body", {"content-type": "text/plain"}),
        ("POST", "/raw", {}),
        ("DELETE", "/body", {}),
        ("POST", "/nowhere", {}),
        ("GET", "/stay/x", {}),
        ("GET", "/healthz/", {}),
    ],
)
@pytest.mark.parametrize("token", ["", "eve"])
async def test_without_a_known_token_no_body_is_read(
    method: str, path: str, headers: dict[str, str], token: str
) -> None:
    status, got, said = await Room().ask(method, path, token, headers=headers, receive=unread)
    assert (status, said["code"]) == (401, "not-authenticated")
    assert got["www-authenticate"].startswith(
        f'Bearer resource_metadata="{METADATA}", scope="tools:list tools:call jobs"'
    )
    assert ("invalid_token" in got["www-authenticate"]) == bool(token)


@pytest.mark.parametrize("token", ["ann", "operator"])
async def test_a_body_that_says_it_is_too_large_is_not_read(token: str) -> None:
    status, _, said = await Room().ask("POST", "/body", token, headers={"content-length": "1001"}, receive=unread)
    assert (status, said["code"]) == (413, "too-large")


@pytest.mark.parametrize("path", ["/body", "/raw"])
@pytest.mark.parametrize("sent", [[b""], [b"{", b""], [b"{", b'"a"', b": 1", b""]])
async def test_a_body_that_does_not_come_is_a_408(path: str, sent: list[bytes]) -> None:
    status, got, said = await Room().ask("POST", path, "ann", receive=parts(*sent))
    assert (status, said["code"], got["connection"]) == (408, "request-timed-out", "close")
    assert "NEXUS_BODY_SECONDS" in said["error"]


async def test_a_body_that_comes_byte_by_byte_gains_no_time() -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    status, _, said = await Room().ask("POST", "/body", "ann", receive=drip)
    assert (status, said["code"]) == (408, "request-timed-out")


async def test_a_body_that_comes_in_parts_is_taken() -> None:
    assert (await Room().ask("POST", "/body", "ann", receive=parts(b'{"a"', b": 1", b"}")))[2] == {"a": 1}


async def test_an_answer_that_takes_longer_than_a_body_may_is_not_cut() -> None:
    room = Room()
    asked = asyncio.create_task(room.ask("GET", "/stay/ann", "ann"))
    await room.ask("POST", "/raw", "bob", receive=parts(b"x", b""))  # the time of a body
    room.out.set()
    assert (await asked)[0] == 200


async def test_a_user_has_so_many_requests_at_once_and_the_rest_in_turn() -> None:
    room = Room()
    hers = [asyncio.create_task(room.ask("GET", "/stay/ann", "ann")) for _ in range(10)]
    await until(lambda: len(room.inside) == AT_ONCE)
    others = [asyncio.create_task(room.ask("GET", f"/stay/{one}", one)) for one in ("bob", *["operator"] * 10)]
    await until(lambda: len(room.inside) == AT_ONCE + 11)
    assert room.inside.count("ann") == AT_ONCE
    room.out.set()
    assert {(await one)[0] for one in (*hers, *others)} == {200}


async def test_the_tokens_of_a_user_share_its_turns_whatever_they_are_good_for() -> None:
    room = Room()
    hers = [
        asyncio.create_task(room.ask("GET", f"/stay/{one}", one))
        for one in ("ann", "anns-phone")
        for _ in range(AT_ONCE)
    ]
    bobs = asyncio.create_task(room.ask("GET", "/stay/bob", "bob"))
    await until(lambda: len(room.inside) == AT_ONCE + 1)
    assert "bob" in room.inside
    room.out.set()
    assert {(await one)[0] for one in (*hers, bobs)} == {200}
    assert USERS["ann"] == USERS["anns-phone"]


async def test_too_many_that_wait_are_refused_with_the_bound_before_their_bodies() -> None:
    room = Room()
    full = [asyncio.create_task(room.ask("GET", "/stay/ann", "ann")) for _ in range(AT_ONCE + MOST_WAITING)]
    await asyncio.sleep(0)
    await until(lambda: len(room.inside) == AT_ONCE)
    status, got, said = await room.ask("POST", "/body", "ann", receive=unread)
    assert (status, said["code"], said["bound"], got["retry-after"]) == (429, "too-many", "NEXUS_USER_REQUESTS", "1")
    assert (await room.ask("POST", "/body", "bob", receive=parts(b"{}")))[0] == 200
    room.out.set()
    assert {(await one)[0] for one in full} == {200}
    assert (await room.ask("POST", "/body", "ann", receive=parts(b"{}")))[0] == 200


async def test_one_that_gives_up_waiting_leaves_its_place() -> None:
    room = Room()
    inside = [asyncio.create_task(room.ask("GET", "/stay/ann", "ann")) for _ in range(AT_ONCE)]
    await until(lambda: len(room.inside) == AT_ONCE)
    waiting = [asyncio.create_task(room.ask("GET", "/stay/ann", "ann")) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0.01)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    last = asyncio.create_task(room.ask("GET", "/stay/ann", "ann"))
    await asyncio.sleep(0.01)
    room.out.set()
    assert {(await one)[0] for one in (*inside, last)} == {200}


@pytest.mark.parametrize(("path", "status"), [("/fail", 500), ("/nowhere", 404), ("/large", 200)])
async def test_a_turn_ends_with_its_request(path: str, status: int) -> None:
    room = Room()
    for _ in range(2 * AT_ONCE):
        assert (await room.ask("GET", path, "ann"))[0] == status


async def test_a_large_answer_keeps_its_turn_until_it_is_taken() -> None:
    room, taken = Room(), asyncio.Event()

    async def slowly(message: Message) -> None:
        if not message.get("body") and message["type"] == "http.response.body":
            await taken.wait()  # as a server does whose buffer is full

    large = [asyncio.create_task(room.ask("GET", "/large", "ann", send=slowly)) for _ in range(AT_ONCE)]
    waits = asyncio.create_task(room.ask("GET", "/stay/ann", "ann"))
    await room.ask("POST", "/raw", "bob", receive=parts(b"x", b""))
    assert room.inside == []
    taken.set()
    await until(lambda: room.inside == ["ann"])
    room.out.set()
    assert [len((await one)[2]) for one in large] == [200_000] * AT_ONCE
    await waits


async def test_an_event_stream_gives_its_turn_back_when_it_begins() -> None:
    room = Room()
    streams = [asyncio.create_task(room.ask("GET", "/stream", "ann")) for _ in range(2 * AT_ONCE)]
    assert (await room.ask("POST", "/body", "ann", receive=parts(b"{}")))[0] == 200
    room.out.set()
    assert {(await one)[2] for one in streams} == {b": one\n\n"}


@pytest.mark.parametrize("one", [b"[]", b"{}", b"1", b'{"a":[1]}'])
@pytest.mark.parametrize("path", ["/body", "/raw"])
async def test_a_body_of_too_many_values_is_a_413_that_names_the_bound_and_nobody_parses_it(
    path: str, one: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(Request, "json", parse)
    body = b"[" + b",".join([one] * 200) + b"]"
    status, _, said = await Room().ask("POST", path, "ann", receive=parts(body[:400], body[400:]))
    assert (status, said["code"]) == (413, "too-large")
    assert "NEXUS_MAX_BODY_VALUES" in said["error"]


async def test_others_get_their_turn_while_a_large_body_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "PIECE_BYTES", 10)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(count_turns())
    assert (await Room().ask("POST", "/raw", "ann", receive=parts(b"x" * 900, b"x")))[2] == 901
    others.cancel()
    assert turns >= 900 // 10 - 1


async def test_after_large_bodies_and_answers_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[None] = []
    monkeypatch.setattr(middleware, "TRIM_SECONDS", 0.05)
    monkeypatch.setattr(middleware, "LARGE_BYTES", 500)
    monkeypatch.setattr(memory, "trim", lambda: trims.append(None))
    room = Room()
    assert (await room.ask("POST", "/raw", "ann", receive=parts(b"x" * 250, b"x" * 200)))[2] == 450
    await asyncio.sleep(0.1)
    assert trims == []
    for _ in range(3):
        assert (await room.ask("POST", "/raw", "ann", receive=parts(b"x" * 300, b"x" * 300)))[2] == 600
    await until(lambda: len(trims) > 0)
    trims.clear()
    assert (await room.ask("GET", "/large", "ann"))[0] == 200
    await until(lambda: len(trims) > 0)


async def test_a_token_for_another_resource_is_refused_before_the_body() -> None:
    room = Room()
    room.out.set()
    assert (await room.ask("GET", "/stay/guest", "guest"))[0] == 200
    status, _, said = await room.ask("POST", "/body", "guest", receive=unread)
    assert (status, said["code"]) == (401, "not-authenticated")
    assert "another resource" in said["error"]
