"""The bridge against whatever may answer in the hub's place."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from nexus_hub.gateway.bridge import Bridge

URL = "http://user:secret@hub.example/mcp?tools=search"
SHOWN = "http://hub.example/mcp"
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
Answer = Callable[[httpx2.Request], httpx2.Response]


class Line:
    """A bridge to an answer of the test's own; what it says, tells and sends."""

    def __init__(self, answer: Answer) -> None:
        self.said: list[bytes] = []
        self.told: list[str] = []
        self.sent: list[httpx2.Request] = []

        def respond(request: httpx2.Request) -> httpx2.Response:
            self.sent.append(request)
            return answer(request)

        async def say(line: bytes) -> None:
            self.said.append(line)

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
        self.bridge = Bridge(http, URL, say, self.told.append, patience=0)

    async def take(self, *messages: Any) -> list[Any]:
        for message in messages:
            await self.bridge.take(message if isinstance(message, bytes) else json.dumps(message).encode())
        await self.bridge.drain(10)
        await self.bridge.close(10)
        return [json.loads(line) for line in self.said]


def request(method: str, ident: Any = 1, *, modern: bool = True, **params: Any) -> dict[str, Any]:
    meta = {"_meta": META} if modern else {}
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params | meta}


def problem(status: int, detail: str) -> httpx2.Response:
    return httpx2.Response(status, json={"code": "x", "detail": detail})


def events(*data: str) -> httpx2.Response:
    text = "".join(f"data: {one}\n\n" for one in data)
    return httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem(401, "Send a known token."), "does not know who asks: Send a known token. See NEXUS_TOKEN."),
        (problem(413, "The body is too large."), "answered 413: The body is too large."),
        (problem(429, "Too many."), "answered 429: Too many."),
        (httpx2.Response(502, text="<html>"), "answered 502."),
        (httpx2.Response(500, json=[]), "answered 500."),
        (httpx2.Response(404, text="no"), "see NEXUS_URL"),
        (httpx2.Response(200, text="<html>"), "see NEXUS_URL"),
        (httpx2.Response(200, json={"status": "ok"}), "see NEXUS_URL"),
        (httpx2.Response(200, json=[1]), "see NEXUS_URL"),
        (httpx2.Response(202), "see NEXUS_URL"),
        (httpx2.Response(307, headers={"location": "http://elsewhere.example"}), "see NEXUS_URL"),
        (events(), "broke off without an answer"),
        (events("not JSON", '{"jsonrpc": "2.0"}'), "broke off without an answer"),
    ],
)
async def test_what_is_no_answer_is_an_error_of_the_request(answer: httpx2.Response, words: str) -> None:
    line = Line(lambda _: answer)
    (said,) = await line.take(request("tools/call", "a", name="x"))
    assert (said["id"], said["error"]["code"]) == ("a", -32000)
    assert words in said["error"]["message"]
    assert SHOWN in said["error"]["message"]
    assert "secret" not in line.said[0].decode()


@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_an_error_in_json_rpc_passes_with_any_status(status: int) -> None:
    error = {"code": -32601, "message": "no", "data": {"deep": [1.50]}}
    line = Line(lambda _: httpx2.Response(status, json={"jsonrpc": "2.0", "id": 1, "error": error}))
    assert await line.take(request("x")) == [{"jsonrpc": "2.0", "id": 1, "error": error}]


async def test_an_error_without_an_id_gets_that_of_its_request() -> None:
    answer = httpx2.Response(
        400, content=b'{"id":null,"error":{"code":1,"data":1E400}}', headers={"content-type": "application/json"}
    )
    line = Line(lambda _: answer)
    await line.take(request("x", "mine"))
    assert line.said == [b'{"id":"mine","error":{"code":1,"data":1E400}}']


async def test_bytes_pass_as_they_are_in_one_line() -> None:
    sent = b'{ "jsonrpc":"2.0","id":1 , "method":"tools/list","params":{"n":1.50E5,"half":"\\ud800","a":1,"a":2}}'
    back = b'{"jsonrpc": "2.0",\r\n "id": 1, "result": {"n": 1.50E5,\n "half": "\\ud83d"}}'
    line = Line(lambda _: httpx2.Response(200, content=back, headers={"content-type": "application/json"}))
    await line.take(sent)
    assert line.sent[0].content == sent
    assert line.said == [back.replace(b"\r", b" ").replace(b"\n", b" ")]


async def test_what_comes_before_an_answer_passes_too() -> None:
    notice, question = '{"jsonrpc":"2.0","method":"a"}', '{"jsonrpc":"2.0","id":1,"method":"roots/list"}'
    answer = '{"jsonrpc":"2.0","id":1,"result":{}}'
    line = Line(lambda _: events("", notice, question, answer, '{"jsonrpc":"2.0","method":"late"}'))
    await line.take(request("tools/call"))
    assert line.said == [one.encode() for one in (notice, question, answer)]


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "a__b"}, "a__b"),
        ("prompts/get", {"name": "grüß"}, "=?base64?Z3LDvMOf?="),
        ("resources/read", {"uri": "file:///a b"}, "file:///a b"),
        ("resources/read", {"uri": " edge"}, "=?base64?IGVkZ2U=?="),
        ("tasks/get", {"taskId": "t1"}, "t1"),
        ("tools/call", {"name": "=?base64?eA==?="}, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("tools/call", {"name": "half \ud800"}, None),
        ("tools/call", {"name": 5}, None),
        ("tools/list", {"name": "x"}, None),
    ],
)
async def test_the_headers_of_a_request_say_what_is_in_it(method: str, params: dict[str, Any], name: str) -> None:
    line = Line(lambda _: httpx2.Response(200, json={"jsonrpc": "2.0", "id": 1, "result": {}}))
    await line.take(request(method, **params))
    headers = line.sent[0].headers
    assert (headers["mcp-method"], headers["mcp-protocol-version"]) == (method, "2026-07-28")
    assert headers.get("mcp-name") == name
    assert "mcp-session-id" not in headers


class OldHub:
    """A hub of the older era that forgets its session at a word."""

    def __init__(self) -> None:
        self.sessions = 0
        self.forgotten = False
        self.version = "2025-11-25"

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return httpx2.Response(405)
        message = json.loads(request.content)
        if message["method"] == "initialize":
            self.sessions, self.forgotten = self.sessions + 1, False
            result = {"protocolVersion": self.version, "capabilities": {"tools": {"listChanged": True}}}
            body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            return httpx2.Response(200, json=body, headers={"mcp-session-id": f"s{self.sessions}"})
        if self.forgotten or request.headers["mcp-session-id"] != f"s{self.sessions}":
            return httpx2.Response(404, json={"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}})
        if "id" not in message:
            return httpx2.Response(202)
        return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "result": {"in": self.sessions}})


INITIALIZE = request("initialize", 0, modern=False, protocolVersion="2025-11-25")


async def test_a_session_that_is_forgotten_is_opened_anew_once() -> None:
    hub = OldHub()
    line = Line(hub)
    for message in (INITIALIZE, request("logging/setLevel", 1, modern=False, level="error")):
        await line.bridge.take(json.dumps(message).encode())
        await line.bridge.drain(10)
    hub.forgotten = True
    said = await line.take(*(request("tools/call", n, modern=False) for n in (2, 3, 4)))
    assert {one["id"]: one["result"]["in"] for one in said if one.get("id", 0) > 1} == {2: 2, 3: 2, 4: 2}
    methods = [json.loads(one.content)["method"] for one in line.sent if one.method == "POST"]
    assert methods.count("initialize") == methods.count("logging/setLevel") == 2
    assert methods.index("notifications/initialized") < len(methods) - 1 - methods[::-1].index("logging/setLevel")
    assert [one["method"] for one in said if "method" in one] == ["notifications/tools/list_changed"]
    assert sum(one.get("id") == 0 for one in said) == 1


async def test_a_hub_that_speaks_another_version_after_its_return_is_not_spoken_to() -> None:
    hub = OldHub()
    line = Line(hub)
    await line.bridge.take(json.dumps(INITIALIZE).encode())
    hub.forgotten, hub.version = True, "2025-06-18"
    said = await line.take(request("tools/call", 2, modern=False))
    assert "start the client again" in said[-1]["error"]["message"]


async def test_an_answer_to_a_question_of_an_earlier_session_is_not_passed_on() -> None:
    question = '{"jsonrpc":"2.0","id":7,"method":"elicitation/create"}'
    hub = OldHub()

    def answer(request: httpx2.Request) -> httpx2.Response:
        message = json.loads(request.content or b"{}")
        if message.get("method") == "tools/call" and not hub.forgotten:
            return events(question, '{"jsonrpc":"2.0","id":1,"result":{}}')
        return hub(request) if "method" in message or request.method != "POST" else httpx2.Response(202)

    line = Line(answer)
    reply = {"jsonrpc": "2.0", "id": 7, "result": {"action": "accept"}}
    for message in (INITIALIZE, request("tools/call", 1, modern=False)):
        await line.bridge.take(json.dumps(message).encode())
        await line.bridge.drain(10)
    await line.bridge.take(json.dumps(reply).encode())
    await asyncio.sleep(0)
    hub.forgotten = True
    await line.bridge.take(json.dumps(request("tools/list", 2, modern=False)).encode())
    await line.bridge.drain(10)
    await line.take(reply)
    assert sum(json.loads(one.content or b"{}").get("id") == 7 for one in line.sent) == 1


@pytest.mark.parametrize("method", ["tools/list", "tools/call"])
async def test_a_hub_that_takes_no_connection_is_told_of_once(method: str) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    line = Line(refuse)
    said = await line.take(request(method, 1), request(method, 2))
    assert all("Is it running? nexus-hub up" in one["error"]["message"] for one in said)
    assert "known" not in said[0]["error"]["message"]
    assert len(line.told) == 1
    assert "secret" not in line.told[0]


@pytest.mark.parametrize(("method", "unknown"), [("tools/call", True), ("tools/list", False), ("tasks/cancel", True)])
async def test_a_connection_that_breaks_says_if_the_outcome_is_unknown(method: str, unknown: bool) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("reset", request=request)

    (said,) = await Line(refuse).take(request(method, 1))
    assert ("not known whether" in said["error"]["message"]) is unknown


async def test_a_call_of_the_newer_era_is_cancelled_without_a_message() -> None:
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    line = Line(lambda _: httpx2.Response(202))
    line.bridge._http = httpx2.AsyncClient(transport=httpx2.MockTransport(hang))
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert await line.take(request("tools/call", 1), cancelled) == []
    assert line.sent == []
