"""Places at which a result breaks the protocol: named, with nothing of the result."""

from typing import Any

import pytest

from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest
from nexus_hub.upstream.results import find_fault

CALL, READ, GET = ToolCall("t"), ResourceRead("x:y"), PromptGet("p")
COMPLETE = Completion({"type": "ref/prompt", "name": "p"}, {"name": "a", "value": ""})
TEXT = {"type": "text", "text": "hello"}
SECRET = "secret-of-the-result"


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (CALL, {"content": []}),
        (CALL, {"content": [TEXT], "structuredContent": {"a": [1]}, "isError": True, "_meta": {"a": 1}, "x-own": 1}),
        (CALL, {"content": [TEXT], "structuredContent": None, "isError": None, "_meta": None}),
        (CALL, {"content": [{"type": "image", "data": "!!!", "mimeType": "image/png", "annotations": {"own": 1}}]}),
        (CALL, {"content": [{"type": "audio", "data": "AA==", "mimeType": "audio/wav"}]}),
        (CALL, {"content": [{"type": "resource_link", "uri": "file:///a b", "name": "n"}]}),
        (CALL, {"content": [{"type": "resource", "resource": {"uri": "x:y", "blob": ""}}]}),
        (CALL, {"content": [{**TEXT, "text": "\ud800\0"}]}),
        (READ, {"contents": [{"uri": "x:y", "text": ""}, {"uri": "x:y", "blob": "AA==", "mimeType": None}]}),
        (GET, {"messages": [{"role": "user", "content": TEXT}]}),
        (COMPLETE, {"completion": {"values": []}}),
        (COMPLETE, {"completion": {"values": ["a", ""], "total": 2, "hasMore": False, "x-own": 1}, "_meta": {"a": 1}}),
    ],
)
@pytest.mark.parametrize("modern", [False, True])
def test_a_good_result_has_no_fault(request_: UpstreamRequest, result: dict[str, Any], modern: bool) -> None:
    assert find_fault(request_, result, modern=modern) is None


@pytest.mark.parametrize(
    ("request_", "result", "place"),
    [
        (CALL, {"content": [], "structuredContent": [SECRET]}, "structuredContent: must be an object"),
        (CALL, {"content": [], "structuredContent": SECRET}, "structuredContent: must be an object"),
        (COMPLETE, {}, "completion: is missing"),
        (COMPLETE, {"completion": [SECRET]}, "completion: must be an object"),
        (COMPLETE, {"completion": {}}, "completion.values: is missing"),
        (COMPLETE, {"completion": {"values": SECRET}}, "completion.values: must be an array"),
        (COMPLETE, {"completion": {"values": ["a", {"a": SECRET}]}}, "completion.values[1]: must be a string"),
        (CALL, {}, "content: is missing"),
        (CALL, {"toolResult": {"x": SECRET}}, "content: is missing"),
        (CALL, {"content": None}, "content: must be an array"),
        (CALL, {"content": SECRET}, "content: must be an array"),
        (CALL, {"content": TEXT}, "content: must be an array"),
        (CALL, {"content": [SECRET]}, "content[0]: must be an object"),
        (CALL, {"content": [TEXT, None]}, "content[1]: must be an object"),
        (CALL, {"content": [{"text": SECRET}]}, "content[0].type: is missing"),
        (CALL, {"content": [{"type": [SECRET]}]}, "content[0].type: must be a string"),
        (
            CALL,
            {"content": [{"type": SECRET, "data": ""}]},
            "content[0].type: must be one of text, image, audio, resource_link, resource",
        ),
        (CALL, {"content": [TEXT, {"type": "text"}]}, "content[1].text: is missing"),
        (CALL, {"content": [{"type": "text", "text": {"a": SECRET}}]}, "content[0].text: must be a string"),
        (CALL, {"content": [{"type": "image", "data": "AA=="}]}, "content[0].mimeType: is missing"),
        (CALL, {"content": [{"type": "resource"}]}, "content[0].resource: is missing"),
        (
            CALL,
            {"content": [{"type": "resource", "resource": {"uri": "x:y"}}]},
            "content[0].resource: must have a text or a blob",
        ),
        (CALL, {"content": [{"type": "resource", "resource": {"text": ""}}]}, "content[0].resource.uri: is missing"),
        (CALL, {"content": [], "_meta": [SECRET]}, "_meta: must be an object"),
        (CALL, {"content": [], "isError": {"a": SECRET}}, "isError: must be true or false"),
        (READ, {"content": [TEXT]}, "contents: is missing"),
        (READ, {"contents": [{"uri": "x:y"}]}, "contents[0]: must have a text or a blob"),
        (GET, {"messages": [{"role": SECRET, "content": TEXT}]}, "messages[0].role: must be user or assistant"),
        (GET, {"messages": [{"role": "user", "content": SECRET}]}, "messages[0].content: must be an object"),
    ],
)
def test_a_fault_is_named_by_its_place(request_: UpstreamRequest, result: dict[str, Any], place: str) -> None:
    assert find_fault(request_, result, modern=False) == place


def test_what_the_newer_protocol_allows_is_no_fault_there() -> None:
    assert find_fault(CALL, {"content": [], "structuredContent": [1]}, modern=True) is None
    assert find_fault(CALL, {"resultType": "input_required"}, modern=True) is None
    assert find_fault(CALL, {"content": [], "resultType": 5}, modern=True) == "resultType: must be a string"
    assert find_fault(CALL, {"content": [], "resultType": 5}, modern=False) is None
