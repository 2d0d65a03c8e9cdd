"""Members of a caller's `_meta` that are passed on."""

import pytest

from nexus_hub.upstream.meta import select_forwarded

PASSED = [
    "traceparent",
    "tracestate",
    "baggage",
    "com.example/key",
    "com.example.mcp/key",
    "example.org/mcp",
    "mcp/x",
    "plain",
    "openai/userAgent",
    "",
]
KEPT_BACK = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "io.modelcontextprotocol/related-task",
    "IO.ModelContextProtocol/protocolVersion",
    "modelcontextprotocol.io/x",
    "dev.mcp/x",
    "org.modelcontextprotocol.api/x",
    "com.mcp.tools/x",
]


@pytest.mark.parametrize("key", PASSED)
def test_trace_context_and_the_keys_of_vendors_are_passed_on(key: str) -> None:
    value = {"nested": [1, None]}
    assert select_forwarded({key: value}) == {key: value}


@pytest.mark.parametrize("key", KEPT_BACK)
def test_the_keys_of_the_protocol_are_kept_back(key: str) -> None:
    assert select_forwarded({key: "theirs", "com.example/key": 1}) == {"com.example/key": 1}


@pytest.mark.parametrize("meta", [None, {}])
def test_a_request_without_metadata_has_none(meta: dict[str, object] | None) -> None:
    assert select_forwarded(meta) == {}
