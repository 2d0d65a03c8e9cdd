"""Results, arguments and calls between a client and a server, unchanged by the hub."""

import asyncio
import json
from typing import Any

import pytest

from nexus_hub import json_text
from tests.fixtures.mcp_place import RawHub
from tests.fixtures.mcp_wire import ERAS, LEGACY, META, MODERN, Answer, Wire, envelope, headers_for, request

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("era", ERAS)


LINE_ENDS = ("\u2028", "\x85")
"""Some clients end a line of a stream at these, so they are escaped in one."""
NUMBERS = "[1.0,1E5,-0,-0.0,1.10,12345678901234567890,0.1000000000000000055511151231257827,1e400]"
RESULTS = [
    '{"content":[{"type":"text","text":"h\\u00e9 \\ud83d\\ude00, NUL \\u0000, half \\ud800"}],"isError":false}',
    '{"content":[{"type":"text","text":"it went wrong"}],"isError":true}',
    '{"content":[{"type":"image","data":"aGVsbG8=","mimeType":"image/png","annotations":{"priority":0.50}}]}',
    '{"content":[{"type":"audio","data":"UklGRg==","mimeType":"audio/wav"}]}',
    '{"content":[{"type":"resource_link","uri":"file:///a b","name":"n","size":1.0,"x-own":null}]}',
    '{"content":[{"type":"resource","resource":{"uri":"x://y","blob":"AA==","_meta":{"a":null}}}]}',
    '{"content":[],"structuredContent":{"numbers":' + NUMBERS + ',"null":null,"":"","z":1,"a":2}}',
    '{"content":[{"type":"text","text":"\u00e9\U0001f600\u2028\u0085"}]}',
    '{ "content" : [ ] , "structuredContent" : { "a" : null } }',
    '{"content":[],"x-vendor":{"deep":[[[{}]]]}}',
    '{"content":[{"type":"text","text":"' + "x" * 300_000 + '"}]}',
    '{"content":[{"type":"text","text":"{\\"jsonrpc\\":\\"2.0\\"}\\r\\n\\r\\ndata: {}\\n\\nevent: message"}]}',
]


def result_text(answer: Answer) -> bytes:
    data = answer.content
    if "text/event-stream" in answer.headers["content-type"]:
        data = next(line for line in reversed(data.split(b"\r\n")) if line.startswith(b"data: ")).removeprefix(
            b"data: "
        )
    inside = data[data.index(b'"result":') + len(b'"result":') :].strip()
    return inside[:-1] if inside.endswith(b"}") else inside.partition(b'},"')[0]


def own(text: bytes) -> dict[str, Any]:
    """A result without what the hub says in it."""
    value = json_text.read(text)
    meta = value.get("_meta", {})
    meta.pop(f"{META}serverInfo", None)
    kept = {key: one for key, one in value.items() if key != "resultType" and (key != "_meta" or meta)}
    return kept | ({"_meta": meta} if meta else {})


@BOTH
async def test_a_result_comes_through_byte_by_byte(caller: Wire, era: str) -> None:
    for text in RESULTS:
        answer = await caller.ask(era, "tools/call", {"name": "lit__say", "arguments": {"text": text}})
        came, sent = result_text(answer), text.encode()
        is_kept = not any(end in text for end in LINE_ENDS)
        if era == MODERN:
            assert answer.result["resultType"] == "complete"
            assert "_meta" in text or not is_kept or came.endswith(sent[sent.index(b'"') :])
        elif is_kept:
            assert came == sent
        assert json_text.write(own(came)) == json_text.write(json_text.read(sent))


@BOTH
async def test_arguments_reach_the_server_as_they_were_given(caller: Wire, era: str) -> None:
    given = '{"text":"message","z":"\\u00e9","a":1e5,"more":' + NUMBERS + "}"
    await caller.open()
    body = request("tools/call", {"name": "lit__say"})
    if era == LEGACY:
        del body["params"]["_meta"]
    data = json.dumps(body)[:-2] + ',"arguments":' + given + "}}"
    answer = await caller.send(data.encode(), headers_for(body) if era == MODERN else caller.in_session)
    assert f'"arguments":{given}'.replace("\\u00e9", "\u00e9") in answer.result["content"][0]["text"]


@BOTH
async def test_metadata_passes_but_for_the_servers_own_introduction(caller: Wire, era: str) -> None:
    meta = {f"{META}serverInfo": {"name": "secretive", "version": "1"}, "vendor/x": [1.5, None], "progress": {}}
    text = json.dumps({"content": [], "_meta": meta})
    result = (await caller.ask(era, "tools/call", {"name": "lit__say", "arguments": {"text": text}})).result
    assert result["_meta"]["vendor/x"] == [1.5, None]
    assert result["_meta"]["progress"] == {}
    assert "secretive" not in json.dumps(result)


@BOTH
async def test_a_result_says_only_what_the_hub_says_of_its_kind(caller: Wire, era: str) -> None:
    for kind in ("task", "input_required", "complete", "unheard-of", 5, None):
        text = json.dumps({"resultType": kind, "content": [], "taskId": "t"})
        answer = await caller.ask(era, "tools/call", {"name": "lit__say", "arguments": {"text": text}})
        if era == MODERN and answer.code is None:
            assert answer.result["resultType"] == "complete"


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_a_call_that_its_client_ends_is_ended_at_the_server(raw: RawHub, how: str) -> None:
    tag = f"old-{how}"
    async with raw.wire() as caller, raw.wire() as beside:
        await caller.open()
        arguments = {"seconds": 60, "tag": tag}
        calling = asyncio.create_task(
            caller.legacy("tools/call", {"name": "lively__wait", "arguments": arguments}, number=77)
        )
        await raw.file(f"{tag}.begun")
        if how == "cancelled":
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}}
            assert (await beside.send(note, caller.in_session)).status == 202
        else:
            assert (await beside.send(b"", caller.in_session, "DELETE")).status == 200
        await raw.file(f"{tag}.cancelled")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def test_closing_the_stream_ends_the_call_in_the_newer_era(raw: RawHub) -> None:
    async with raw.wire() as caller:
        params = {"name": "lively__wait", "arguments": {"seconds": 60, "tag": "new"}}
        calling = asyncio.create_task(caller.modern("tools/call", params))
        await raw.file("new.begun")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await raw.file("new.cancelled")
        assert "tools" in (await caller.modern("tools/list")).result


async def test_a_cancellation_of_somebody_elses_request_changes_nothing(raw: RawHub) -> None:
    async with raw.wire(token=raw.token) as ann, raw.wire(token=raw.other_token) as ben:
        await ann.open()
        await ben.open()
        params = {"name": "lively__wait", "arguments": {"seconds": 1, "tag": "kept"}}
        calling = asyncio.create_task(ann.legacy("tools/call", params, number=5))
        await raw.file("kept.begun")
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        await ben.send(note, ben.in_session)
        await ben.send(note, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "notifications/cancelled"})
        assert (await calling).result["content"][0]["text"] == "waited 1.0 s"
        assert not (raw.folder / "kept.cancelled").exists()


async def test_a_client_of_the_older_era_that_disappears_ends_nothing(raw: RawHub) -> None:
    async with raw.wire() as caller:
        await caller.open()
        params = {"name": "lively__wait", "arguments": {"seconds": 1, "tag": "left"}}
        calling = asyncio.create_task(caller.legacy("tools/call", params))
        await raw.file("left.begun")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await raw.file("left.ended")
        assert "tools" in (await caller.legacy("tools/list", {}, number=2)).result


@BOTH
@pytest.mark.parametrize("token", ["abc", 7, 0, "\u00e9", None])
async def test_progress_comes_before_the_result_with_the_token_that_was_given(
    caller: Wire, era: str, token: object
) -> None:
    given = {} if token is None else {"progressToken": token}
    meta = given if era == LEGACY else given | envelope()
    params = {"name": "lively__steps", "arguments": {"count": 3}, "_meta": meta}
    *notes, last = (await caller.ask(era, "tools/call", params)).messages
    assert last["result"]["content"][0]["text"] == "3 steps"
    told = [note["params"] for note in notes if note["method"] == "notifications/progress"]
    wanted = [] if token is None else [(token, step, 3, f"step {step}") for step in (1, 2, 3)]
    assert [(one["progressToken"], one["progress"], one["total"], one["message"]) for one in told] == wanted
