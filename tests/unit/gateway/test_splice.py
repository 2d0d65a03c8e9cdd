"""The texts of results in the places of their marks."""

import json
from typing import Any

from starlette.types import Message

from nexus_hub.gateway.splice import Splice

ODD = b'{"z":1.10,"a":[1E400,12345678901234567890123],"s":"\\ud800"}'


async def sent(splice: Splice, *messages: Message) -> list[Message]:
    out: list[Message] = []

    async def send(message: Message) -> None:
        out.append(message)

    wrapped = splice.wrap(send)
    for message in messages:
        await wrapped(message)
    return out


def start(**headers: str) -> Message:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


def body(value: Any, **options: Any) -> Message:
    return {"type": "http.response.body", "body": json.dumps({"result": value}, **options).encode()}


async def test_a_text_takes_the_place_of_its_mark_and_the_length_is_right() -> None:
    splice = Splice()
    marked = body(splice.hold(ODD))
    head, answer = await sent(splice, start(content_length=str(len(marked["body"]))), marked)
    assert answer["body"] == b'{"result": ' + ODD + b"}"
    assert head["headers"] == [(b"content-length", str(len(answer["body"])).encode())]


async def test_each_mark_gets_its_own_text_however_the_writer_spaces() -> None:
    splice = Splice()
    first, second = splice.hold(b"{}"), splice.hold(ODD)
    _, answer = await sent(splice, start(), body([second, first], separators=(",", ":")))
    assert answer["body"] == b'{"result":[' + ODD + b",{}]}"


async def test_a_text_stays_on_its_line_of_an_event_stream() -> None:
    splice = Splice()
    _, event = await sent(splice, start(), body(splice.hold('{\r\n "a": "\x85\u2028"\n}'.encode())))
    assert len(event["body"].decode().splitlines()) == 1
    assert json.loads(event["body"]) == {"result": {"a": "\x85\u2028"}}


async def test_another_requests_mark_is_left_alone() -> None:
    other, splice = Splice(), Splice()
    other.hold(b"{}")
    foreign = other.hold(b'{"secret":1}')
    splice.hold(b"{}")
    _, answer = await sent(splice, start(), body(foreign))
    assert b"secret" not in answer["body"]


async def test_what_holds_no_result_passes_as_it_is() -> None:
    messages = [start(content_length="3"), {"type": "http.response.body", "body": b"abc"}]
    assert await sent(Splice(), *messages) == messages
