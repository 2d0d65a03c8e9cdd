"""Scopes that messages to `/mcp` need."""

import json
from typing import Any

import pytest
from starlette.types import Message, Receive

from nexus_hub.access.scopes import METHODS
from nexus_hub.errors import InsufficientScope
from nexus_hub.gateway.names import OWN_TOOLS
from nexus_hub.gateway.needs import admit_body, find_need
from nexus_hub.gateway.search import CALL, DESCRIBE, SEARCH
from nexus_hub.gateway.views import Mode
from nexus_hub.models import OPERATOR, Principal, Scope


def user(*scopes: Scope) -> Principal:
    return Principal(scopes=frozenset(scopes))


def call(name: object, **arguments: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def body(sent: object, parts: int = 1) -> tuple[Receive, list[Message]]:
    """The body of a request in so many parts, and after it the end of the connection; what was not read yet."""
    text = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    size = max(len(text) // parts, 1)
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
    left: list[Message] = []
    for number, piece in enumerate(pieces, 1):
        left.append({"type": "http.request", "body": piece, "more_body": number < len(pieces)})
    left.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return left.pop(0)

    return receive, left


async def admit(principal: Principal, sent: object, mode: Mode = "all") -> bytes:
    """What can be read of a body that was let in."""
    receive = await admit_body(principal, body(sent, 3)[0], mode)
    got = bytearray()
    while (message := await receive())["type"] == "http.request":
        got += message["body"]
    return bytes(got)


@pytest.mark.parametrize(
    ("method", "params", "mode", "needed"),
    [
        ("tools/call", {"name": "notes__add"}, "all", {"tools:call"}),
        *(("tools/call", {"name": name}, "all", {"jobs"}) for name in OWN_TOOLS),
        ("tools/call", {"name": SEARCH}, "search", {"tools:list"}),
        ("tools/call", {"name": DESCRIBE}, "search", {"tools:list"}),
        ("tools/call", {"name": SEARCH}, "all", {"tools:call"}),
        ("tools/call", {"name": CALL, "arguments": {"name": "notes__add"}}, "search", {"tools:call"}),
        ("tools/call", {"name": CALL, "arguments": {"name": OWN_TOOLS[0]}}, "search", {"jobs"}),
        ("tools/call", {"name": CALL, "arguments": []}, "search", {"tools:call"}),
        ("tools/call", {"name": ["x"]}, "search", {"tools:call"}),
        ("tools/call", None, "all", {"tools:call"}),
        ("tools/list", {}, "all", {"tools:list"}),
        ("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "all", {"tools:list"}),
        ("subscriptions/listen", {"notifications": {"taskIds": ["x"]}}, "all", {"jobs"}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["x"]}}, "all", {"tools:call"}),
        (
            "subscriptions/listen",
            {"notifications": {"taskIds": ["x"], "promptsListChanged": True}},
            "all",
            {"jobs", "tools:list"},
        ),
        ("subscriptions/listen", {"notifications": 1}, "all", {"tools:list"}),
        ("notifications/initialized", {}, "all", set()),
        ("no/such", {}, "all", set()),
    ],
)
def test_a_request_needs_what_it_names(method: str, params: object, mode: Mode, needed: set[Scope]) -> None:
    assert find_need(method, params, mode) == needed


async def test_a_body_that_was_looked_at_can_be_read_as_it_came() -> None:
    sent = call("notes__add", number=1)
    assert json.loads(await admit(user("tools:call"), sent)) == sent


async def test_the_body_of_a_token_for_everything_is_not_read() -> None:
    receive, left = body(call("notes__add"))
    assert await admit_body(OPERATOR, receive, "all") is receive
    assert len(left) == 2


@pytest.mark.parametrize("method", sorted(name for name, need in METHODS.items() if need))
async def test_without_its_scope_a_request_is_refused(method: str) -> None:
    with pytest.raises(InsufficientScope):
        await admit(user("admin"), {"jsonrpc": "2.0", "id": 1, "method": method})


async def test_of_several_requests_all_scopes_are_named() -> None:
    with pytest.raises(InsufficientScope) as refused:
        await admit(user("tools:list"), [call("notes__add"), {"method": "tasks/get"}, {"method": "tools/list"}, 1])
    assert refused.value.scopes == ["jobs", "tools:call", "tools:list"]


@pytest.mark.parametrize(
    "sent", [b"{", b"\xff", b"[" * 100_000, b"1", b'"x"', b'{"method": 1}', b'{"id": 1, "result": {}}']
)
async def test_what_is_no_request_is_left_to_the_sdk(sent: bytes) -> None:
    assert await admit(user("jobs"), sent) == sent


async def test_a_client_that_leaves_is_told_to_the_sdk() -> None:
    receive, left = body(b"{}")
    left[0]["more_body"] = True
    again = await admit_body(user("jobs"), receive, "all")
    assert (await again())["type"] == "http.disconnect"
