"""Results, requests and definitions pass as they were sent: order of members, numbers and texts of every form."""

import asyncio
import json
from dataclasses import replace
from uuid import UUID

import pytest

from nexus_hub import json_text
from nexus_hub.catalog import read
from nexus_hub.db.pool import Database
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import submit_batch
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR
from nexus_hub.upstream.config import HttpConfig
from tests.fixtures.jobs import Table
from tests.fixtures.library import Library
from tests.fixtures.upstreams import Serve, own_server

NUMBERS = "[1.10, 1E5, -0, -0.0, 12345678901234567890123456789, 0.1000000000000000055511151231257827, 1e400]"
RESULTS = [
    '{"z":1,"content":[{"type":"text","text":"t"}],"a":{"y":1,"b":2}}',
    f'{{"content":[],"structuredContent":{{"n":{NUMBERS}}}}}',
    '{"content":[],"structuredContent":{"n":' + "9" * 5000 + "}}",
    '{ "content" : [ ] , "isError" : false }',
    '{"content":[{"type":"text","text":"half \\ud800, NUL \\u0000, mark \\u001a"}]}',
    '{"content":[{"type":"text","text":"\u00e9\U0001f600\u2028"}]}',
    '{"content":[{"type":"text","text":"' + "x" * 600_000 + '"}],"b":1,"a":2}',
    '{"content":[],"structuredContent":{"list":[' + ",".join(["{}"] * 150_000) + "]}}",
    '{"content":[],"structuredContent":' + '{"a":' * 300 + "1" + "}" * 300 + "}",
]


async def said(library: Library, text: str, **more: str) -> UUID:
    job_id = await library.submitted(JobRequest("tool_invoke", "literal__say", {"text": text} | more))
    assert await library.ran(job_id) == "completed", await store.get(library.database, OPERATOR, job_id)
    return job_id


async def text_of(database: Database, job_id: UUID) -> str:
    result = (await store.get(database, OPERATOR, job_id))["result"]
    assert isinstance(result, JsonObject)
    return result.text.decode()


@pytest.fixture(params=["mcp", "events"])
async def literal(request: pytest.FixtureRequest, library: Library, serve: Serve) -> Library:
    """The library with a server that says what it is told to, in JSON or in events."""
    url = (await serve("literal")).url.replace("mcp", request.param)
    await library.servers.register("literal", HttpConfig(url=url))
    return replace(library, execution=replace(library.execution, max_result_bytes=2 * 1024 * 1024))


async def test_a_result_comes_back_byte_by_byte(literal: Library) -> None:
    for text in RESULTS:
        assert await text_of(literal.database, await said(literal, text)) == text


async def test_sql_can_ask_within_a_result_and_finds_what_jsonb_can_hold(literal: Library, table: Table) -> None:
    job_id = await said(literal, RESULTS[0])
    assert await table.get(job_id, "result -> 'a' ->> 'b'", "result_sent ->> 'z'") == ("2", "1")
    job_id = await said(literal, RESULTS[4])
    escaped = "half \x1ad800, NUL \x1a0000, mark \x1a001a"
    assert await table.get(job_id, "result #>> '{content,0,text}'") == (escaped,)
    endless = '{"content":[],"structuredContent":{"n":1e999999}}'
    job_id = await said(literal, endless)
    assert await table.get(job_id, "result") == (None,)
    assert await text_of(literal.database, job_id) == endless


async def test_arguments_arrive_in_the_order_in_which_they_were_given(literal: Library) -> None:
    given = {"z": "1", "text": "arguments", "a": 12345678901234567890123}
    single = await literal.submitted(JobRequest("tool_invoke", "literal__say", given))
    batch, _, _ = await submit_batch(literal.database, OPERATOR, [JobRequest("tool_invoke", "literal__say", given)])
    for job_id in (single, *batch):
        await literal.ran(job_id)
        job = await store.get(literal.database, OPERATOR, job_id)
        assert json.dumps(job["result"]["structuredContent"]) == json.dumps(given)
        assert json.dumps(dict(job["params"])) == json.dumps(given)


async def test_numbers_in_arguments_reach_the_server_as_they_were_given(literal: Library) -> None:
    await literal.servers.register("child", own_server("literal"))
    given = '{"z":"\\u00e9","text":"message","a":1e5,"more":' + NUMBERS.replace(" ", "") + ',"deep":{"1":[1.0,1]}}'
    for tool in ("literal__say", "child__say"):
        request = JobRequest("tool_invoke", tool, json_text.read(given))
        single = await literal.submitted(request)
        batch, _, _ = await submit_batch(literal.database, OPERATOR, [request])
        for job_id in (single, *batch):
            await literal.ran(job_id)
            job = await store.get(literal.database, OPERATOR, job_id)
            message = job["result"]["content"][0]["text"]
            assert f'"arguments":{given}'.replace("\\u00e9", "\u00e9") in message
            assert json_text.write(job["params"]).decode() == given


async def test_numbers_that_jsonb_does_not_take_are_stored_all_the_same(library: Library, literal: Library) -> None:
    given = '{"more":[1e400000,-1e-400000,' + "9" * 6000 + ',1e99999999999999999999],"text":"message","z":"%s"}'
    for z in ("", "3e5", "\\u0000", "\\u001a"):
        request = JobRequest("tool_invoke", "literal__say", json_text.read(given % z))
        single = await literal.submitted(request)
        batch, _, _ = await submit_batch(literal.database, OPERATOR, [request])
        for job_id in (single, *batch):
            await literal.ran(job_id)
            job = await store.get(library.database, OPERATOR, job_id)
            stored = json_text.read(json_text.write(job["params"]))
            message = json_text.read(job["result"]["content"][0]["text"])
            for found in (stored, message["params"]["arguments"]):  # with what jsonb escapes, in jsonb's order
                assert json_text.write(found, sort_keys=True).decode() == given % z


async def test_numbers_in_a_definition_keep_their_form(literal: Library) -> None:
    shown = await read.show(literal.database, OPERATOR, "literal__say")
    found = json_text.write(shown.definition["inputSchema"]["properties"]["a"]).decode()
    examples = "[-0,-0.0,1.10,0.1000000000000000055,12345678901234567890123,1e-400]"
    assert found == '{"type":"number","default":1E5,"maximum":1e400,"examples":' + examples + "}"


async def test_a_definition_keeps_the_order_of_its_members(literal: Library) -> None:
    shown = await read.show(literal.database, OPERATOR, "literal__say")
    assert list(shown.definition) == ["name", "title", "inputSchema", "description"]
    assert list(shown.definition["inputSchema"]["properties"]) == ["z", "text", "a"]


@pytest.mark.parametrize(
    "text",
    ['{"a":1},"status":"cancelled"', '{"a":1}}, {"b":{}', '{"a":[}', '{"a":"\x01"}', '{"a":\xff}'],
    ids=["members", "object", "bracket", "control", "bytes"],
)
async def test_a_text_that_is_not_one_value_is_refused_and_reaches_no_other(
    library: Library, table: Table, literal: Library, text: str
) -> None:
    ids = [await library.submitted(JobRequest("tool_invoke", "literal__say", {"text": "{}"})) for _ in range(2)]
    broken, good = [await library.claimed(job_id) for job_id in ids]
    broken.result, good.result = JsonObject(text.encode("latin-1")), {"content": []}
    outcomes = await asyncio.gather(library.execution.record(broken), library.execution.record(good))
    assert list(outcomes) == ["failed", "completed"]
    assert await table.get(broken.id, "status", "error_code", "result_sent") == ("failed", "result-not-storable", None)
    assert await table.get(good.id, "status", "result") == ("completed", {"content": []})


async def test_a_result_that_another_program_stored_is_read_whatever_it_is(library: Library, table: Table) -> None:
    for text, value in (('{"b":1,"a":[2]}', {"a": [2], "b": 1}), ("[1]", [1]), ('"t"', "t"), ("null", None)):
        job_id = await table.add()
        await table.connection.execute(
            "UPDATE job_results SET status = 'completed', result = %s::jsonb WHERE id = %s", [text, job_id]
        )
        assert (await store.get(library.database, OPERATOR, job_id))["result"] == value
