from uuid import UUID

import pytest

from nexus_hub.calls.digests import digest_call
from nexus_hub.models import ServerRef
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest

REF = ServerRef("system", UUID(int=1))
CALL = ToolCall("send", {"to": "ann", "copies": 1})


def test_the_order_of_members_and_a_callers_own_words_are_no_part_of_it() -> None:
    assert digest_call(REF, CALL) == digest_call(REF, ToolCall("send", {"copies": 1, "to": "ann"}, {"token": "x"}))


def test_numbers_count_by_their_value() -> None:
    """A job's arguments may come back from PostgreSQL with the same number in another form."""
    assert digest_call(REF, CALL) == digest_call(REF, ToolCall("send", {"to": "ann", "copies": 1.0}))


@pytest.mark.parametrize(
    "other",
    [
        ToolCall("send", {"to": "bob", "copies": 1}),
        ToolCall("send", {"to": "ann", "copies": 1.5}),
        ToolCall("send", {"to": "ann", "copies": "1"}),
        ToolCall("send", {"to": "ann", "copies": True}),
        ToolCall("send", {"to": "ann"}),
        ToolCall("send2", {"to": "ann", "copies": 1}),
        PromptGet("send", {"to": "ann"}),
        ResourceRead("send"),
    ],
)
def test_another_call_has_another_digest(other: UpstreamRequest) -> None:
    assert digest_call(REF, other) != digest_call(REF, CALL)


@pytest.mark.parametrize("ref", [ServerRef("user", UUID(int=1)), ServerRef("system", UUID(int=2))])
def test_so_has_the_same_call_of_another_server(ref: ServerRef) -> None:
    assert digest_call(ref, CALL) != digest_call(REF, CALL)
