"""Answers to requests that are malformed or name nothing; the official suite lets much of this pass."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from nexus_hub.settings import Settings
from tests.fixtures.mcp_place import SAY
from tests.fixtures.mcp_wire import ERAS, LEGACY, META, MODERN, Wire, assert_refused, envelope, headers_for, request

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("era", ERAS)

PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
MISMATCH, NO_VERSION = -32020, -32022
ODD: list[Any] = [None, [1], {}, True]
"""Values that are no ids."""


@BOTH
@pytest.mark.parametrize(
    ("method", "member", "name"),
    [
        ("tools/call", "name", "lit__nothing"),
        ("tools/call", "name", "say"),
        ("tools/call", "name", "LIT__say"),
        ("tools/call", "name", "lit__say "),
        ("tools/call", "name", "hub__nothing"),
        ("tools/call", "name", ""),
        ("tools/call", "name", "n\u00e4me \u2028 \\ud83d"),
        ("prompts/get", "name", "offers__nothing"),
        ("prompts/get", "name", "greet"),
        ("resources/read", "uri", "offers://nothing"),
        ("resources/read", "uri", "file:///etc/passwd"),
    ],
)
async def test_an_unknown_name_is_an_error_of_the_protocol_that_repeats_it(
    caller: Wire, era: str, method: str, member: str, name: str
) -> None:
    encoded = {"Mcp-Name": f"=?base64?{b64encode(name.encode()).decode()}?="}
    params = {member: name}
    answer = await (caller.modern(method, params, encoded) if era == MODERN else caller.legacy(method, params))
    assert_refused(answer, INVALID_PARAMS, name)
    assert answer.status == (400 if era == MODERN else 200)


@BOTH
async def test_a_long_unknown_name_is_cut_short_in_its_error(caller: Wire, era: str) -> None:
    answer = await caller.ask(era, "tools/call", {"name": "lit__" + "x" * 5000})
    assert_refused(answer, INVALID_PARAMS, "lit__xxx")
    assert len(answer.error) < 1000


@pytest.mark.parametrize(
    "method",
    [
        *("nothing/here", "Tools/List", "tools/list/", "", "__init__", "tasks/list", "tasks/result"),
        *("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"),
    ],
)
async def test_the_newer_era_answers_an_unknown_method_with_404(caller: Wire, method: str) -> None:
    answer = await caller.modern(method, {"uri": "offers://greeting", "level": "info", "taskId": "x"})
    assert_refused(answer, NO_METHOD)
    assert answer.status == 404


@pytest.mark.parametrize("method", ["nothing/here", "server/discover", "subscriptions/listen", "tools/List", ""])
async def test_the_older_era_answers_an_unknown_method_in_its_stream(caller: Wire, method: str) -> None:
    answer = await caller.legacy(method, {})
    assert_refused(answer, NO_METHOD)
    assert answer.status == 200


@BOTH
async def test_the_model_reads_which_argument_breaks_the_schema(caller: Wire, era: str) -> None:
    wrong: list[tuple[dict[str, Any] | None, str]] = [
        ({"text": 5}, "text"),
        ({}, "text"),
        (None, "text"),
        ({"text": "x", "a": "no number"}, "a"),
        ({"text": "x", "z": None}, "z"),
    ]
    for arguments, where in wrong:
        params = {"name": "lit__say"} | ({} if arguments is None else {"arguments": arguments})
        result = (await caller.ask(era, "tools/call", params)).result
        assert result["isError"] is True
        assert where in result["content"][0]["text"]


@BOTH
@pytest.mark.parametrize("arguments", [[], "text", 5, True])
async def test_arguments_that_are_no_object_are_malformed_parameters(caller: Wire, era: str, arguments: Any) -> None:
    assert_refused(await caller.ask(era, "tools/call", SAY | {"arguments": arguments}), INVALID_PARAMS)


@BOTH
@pytest.mark.parametrize("params", [{}, {"name": None}, {"name": 5}, {"name": ["lit__say"]}, {"name": {}}])
async def test_a_call_that_names_nothing_is_malformed(caller: Wire, era: str, params: dict[str, Any]) -> None:
    answer = await caller.ask(era, "tools/call", params)
    assert answer.code in ({INVALID_PARAMS, MISMATCH} if era == MODERN else {INVALID_PARAMS})


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"nul", b"{'a': 1}", b'{"a": 1,}', b'{"a": "\xff"}', b"{} {}"),
        b"[" * 20_000,
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"tools/list"}',
    ],
)
async def test_a_body_that_is_no_json_is_a_parse_error(caller: Wire, body: bytes) -> None:
    await caller.open()
    for headers in ({"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}, caller.in_session):
        answer = await caller.send(body, headers)
        assert answer.status == 400
        assert_refused(answer, PARSE)
        assert answer.message["id"] is None


@pytest.mark.parametrize(
    "body",
    [
        *([], [request("tools/list")], [request("tools/list"), request("tools/list", number=2)], 5, "tools/list", None),
        *(request("tools/list") | {"id": number} for number in ODD),
        *(request("tools/list") | {"method": method} for method in (5, None)),
        request("tools/list") | {"jsonrpc": "1.0"},
        request("tools/list") | {"params": [1]},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"id": 1, "method": "tools/list"},
    ],
)
async def test_a_body_that_is_not_one_request_is_refused(caller: Wire, body: Any) -> None:
    await caller.open()
    data = json.dumps(body).encode()
    modern = await caller.send(data, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"})
    assert (modern.status, modern.code) == (400, INVALID_REQUEST)
    legacy = await caller.send(data, caller.in_session)
    if isinstance(body, dict) and ("result" in body or type(body.get("id")) not in (int, str)):
        assert legacy.status in {202, 400}  # the SDK reads it as an answer, or as a notification
    else:
        assert legacy.status == 400
        assert legacy.code in {INVALID_REQUEST, INVALID_PARAMS}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
async def test_a_body_in_another_encoding_is_refused(caller: Wire, encoding: str) -> None:
    body = request("tools/call", SAY | {"name": "lit__s\u00e9y"})
    data = json.dumps(body, ensure_ascii=False).encode(encoding)
    assert (await caller.send(data, headers_for(request("tools/call", SAY)))).status == 400


@BOTH
async def test_ids_come_back_as_they_were_sent(caller: Wire, era: str) -> None:
    for number in (0, -1, 2**53 - 1, "", "1", "x" * 1000, "\u00e9\u2028"):
        if era == MODERN:
            body = request("prompts/list", number=number)
            answer = await caller.send(body, headers_for(body))
        else:
            answer = await caller.legacy("prompts/list", {}, number=number)
        assert answer.message["id"] == number
        assert "prompts" in answer.result


async def test_a_large_body_is_refused_by_what_it_declares_and_by_what_arrives(caller: Wire) -> None:
    most = Settings.model_fields["max_body_bytes"].default
    body = json.dumps(request("tools/call", SAY | {"pad": "x" * most})).encode()

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = headers_for(request("tools/call", SAY))
    assert (await caller.send(body, headers)).status == 413
    answer = await caller.http.post("/mcp", content=in_pieces(), headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == 413


async def test_a_body_of_too_many_values_is_refused(caller: Wire) -> None:
    most = Settings.model_fields["max_body_values"].default
    body = request("tools/call", SAY | {"pad": [0] * (most + 1)})
    assert (await caller.send(body, headers_for(body))).status == 413


def without_name(name: str) -> list[tuple[str, dict[str, Any], dict[str, str | None]]]:
    return [
        ("tools/call", SAY, {name: None}),
        ("prompts/get", {"name": "offers__greet"}, {name: None}),
        ("resources/read", {"uri": "offers://greeting"}, {name: None}),
        ("tools/list", {}, {name: None}),
    ]


@pytest.mark.parametrize(
    ("method", "params", "headers"),
    [
        *without_name("Mcp-Method"),
        *without_name("Mcp-Name")[:3],
        ("tools/call", SAY, {"Mcp-Method": "tools/list"}),
        ("tools/call", SAY, {"Mcp-Method": "Tools/Call"}),
        ("tools/call", SAY, {"Mcp-Method": ""}),
        ("tools/call", SAY, {"Mcp-Name": "lit__nothing"}),
        ("tools/call", SAY, {"Mcp-Name": "LIT__SAY"}),
        ("tools/call", SAY, {"Mcp-Name": ""}),
        ("tools/call", SAY, {"Mcp-Name": "=?base64?bGl0X19zYXk?="}),
        ("tools/call", SAY, {"Mcp-Name": "=?base64?!!!!?="}),
        ("resources/read", {"uri": "offers://greeting"}, {"Mcp-Name": "offers://other"}),
        ("prompts/get", {"name": "offers__greet"}, {"Mcp-Name": "greet"}),
        ("tools/list", {"_meta": envelope() | {f"{META}protocolVersion": LEGACY}}, {}),
        ("tools/list", {"_meta": envelope() | {f"{META}protocolVersion": "2099-01-01"}}, {}),
        ("tools/list", {"_meta": envelope() | {f"{META}protocolVersion": None}}, {}),
        ("tools/list", {"_meta": envelope() | {f"{META}protocolVersion": 20260728}}, {}),
    ],
)
async def test_headers_that_contradict_the_body_are_a_mismatch(
    caller: Wire, method: str, params: dict[str, Any], headers: dict[str, str | None]
) -> None:
    answer = await caller.modern(method, params, headers)
    assert_refused(answer, MISMATCH)
    assert (answer.status, answer.message["id"]) == (400, 1)


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
async def test_a_routing_header_that_comes_twice_is_a_mismatch(caller: Wire, name: str) -> None:
    body = request("tools/call", SAY)
    headers = [*headers_for(body).items(), ("Accept", "*/*"), ("Content-Type", "application/json")]
    twice = [*headers, (name, dict(headers)[name])]
    answer = await caller.http.post("/mcp", content=json.dumps(body), headers=httpx.Headers(twice))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, MISMATCH)


@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp-Name": f"=?base64?{b64encode(b'lit__say').decode()}?="},
        {"mcp-name": "lit__say", "MCP-METHOD": "tools/call"},
    ],
)
async def test_other_forms_of_the_same_headers_are_taken(caller: Wire, headers: dict[str, str]) -> None:
    body = request("tools/call", SAY)
    kept = {
        key: value for key, value in headers_for(body).items() if key.lower() not in {one.lower() for one in headers}
    }
    assert (await caller.send(body, {**kept, **headers})).result["content"] == []


async def test_a_version_that_nobody_speaks_is_answered_with_those_that_the_hub_speaks(caller: Wire) -> None:
    for version in ("2099-01-01", "1999-01-01", "draft", "2026-07-28x"):
        meta = envelope() | {f"{META}protocolVersion": version}
        answer = await caller.modern("tools/list", {"_meta": meta}, {"MCP-Protocol-Version": version})
        assert answer.status == 400
        assert_refused(answer, NO_VERSION)
        assert answer.message["error"]["data"]["requested"] == version
        assert MODERN in answer.message["error"]["data"]["supported"]


@pytest.mark.parametrize(
    "meta",
    [
        *(None, [], "x", {}),
        {f"{META}protocolVersion": MODERN},
        {f"{META}clientCapabilities": {}},
        *({**envelope(), f"{META}clientCapabilities": capabilities} for capabilities in (None, ODD, "all")),
    ],
)
async def test_a_request_without_its_envelope_has_invalid_parameters(caller: Wire, meta: Any) -> None:
    for method, params in (("tools/list", {}), ("tools/call", SAY), ("server/discover", {})):
        answer = await caller.modern(method, {**params, "_meta": meta})
        assert answer.status == 400
        assert_refused(answer, INVALID_PARAMS)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
async def test_the_newer_era_is_post_only(caller: Wire, method: str) -> None:
    answer = await caller.send(b"", {"MCP-Protocol-Version": MODERN}, method)
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]


@BOTH
async def test_a_client_must_take_json_and_streams(caller: Wire, era: str) -> None:
    await caller.open()
    body = request("tools/list") if era == MODERN else {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = headers_for(body) if era == MODERN else caller.in_session
    for refused in ("application/json", "text/event-stream", "text/html", ""):
        assert (await caller.send(body, headers | {"Accept": refused})).status == 406
    for taken in ("*/*", "text/event-stream;q=0.5, application/json;q=0.9", "TEXT/EVENT-STREAM, Application/JSON"):
        assert "tools" in (await caller.send(body, headers | {"Accept": taken})).result


@BOTH
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None, "multipart/form-data"])
async def test_a_body_of_another_type_is_refused(caller: Wire, era: str, kind: str | None) -> None:
    body = request("tools/list")
    answer = await caller.send(body, (headers_for(body) if era == MODERN else {}) | {"Content-Type": kind})
    assert answer.status in {400, 415}
