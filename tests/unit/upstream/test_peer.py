"""What a client can be asked, and the clock that stands still meanwhile."""

import asyncio
from typing import Any

import pytest
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED

from nexus_hub.upstream import peer as peers
from nexus_hub.upstream.peer import (
    ELICIT,
    LIST_ROOTS,
    SAMPLE,
    Pause,
    PeerRefused,
    ask,
    describe,
    find_missing,
    select_askable,
    select_error_data,
)
from tests.fixtures.peers import EVERYTHING, NAMED, PlayedPeer

URL = {"mode": "url", "message": "m", "url": "https://example.org"}


@pytest.mark.parametrize(
    ("declared", "method", "params", "missing"),
    [
        (EVERYTHING, ELICIT, {}, None),
        (EVERYTHING, ELICIT, URL, None),
        (EVERYTHING, SAMPLE, {"tools": []}, None),
        (EVERYTHING, LIST_ROOTS, {}, None),
        ({}, ELICIT, {}, {"elicitation": {"form": {}}}),
        ({}, ELICIT, URL, {"elicitation": {"url": {}}}),
        ({}, SAMPLE, {}, {"sampling": {}}),
        ({}, LIST_ROOTS, {}, {"roots": {}}),
        ({"elicitation": {}}, ELICIT, {"mode": "form"}, None),
        ({"elicitation": {}}, ELICIT, URL, {"elicitation": {"url": {}}}),
        ({"elicitation": {"url": {}}}, ELICIT, {}, {"elicitation": {"form": {}}}),
        ({"elicitation": {"form": {}}}, ELICIT, URL, {"elicitation": {"url": {}}}),
        ({"sampling": {}}, SAMPLE, {"tools": []}, {"sampling": {"tools": {}}}),
        ({"sampling": {}}, SAMPLE, {"toolChoice": {"mode": "auto"}}, {"sampling": {"tools": {}}}),
        ({"sampling": None}, SAMPLE, {}, {"sampling": {}}),
        ({"roots": True}, LIST_ROOTS, {}, {"roots": {}}),
        ({"elicitation": []}, ELICIT, {}, {"elicitation": {"form": {}}}),
    ],
)
def test_a_question_needs_what_the_client_declared(
    declared: dict[str, Any], method: str, params: dict[str, Any], missing: dict[str, Any] | None
) -> None:
    assert find_missing(declared, method, params) == missing


def test_a_capability_is_written_as_its_path() -> None:
    assert describe({"elicitation": {"url": {}}}) == "elicitation.url"


def test_of_the_capabilities_of_a_client_only_those_for_questions_go_upstream() -> None:
    declared = {**EVERYTHING, "extensions": {"io.modelcontextprotocol/ui": {}}, "experimental": {"x": {}}}
    assert select_askable(declared) == EVERYTHING
    assert select_askable({"sampling": None, "roots": 1}) == {}


async def test_the_clock_of_a_call_stands_still_while_its_client_thinks() -> None:
    pause = Pause()

    async def think(method: str, params: dict[str, Any]) -> dict[str, Any]:
        del method, params
        await asyncio.sleep(0.3)
        return NAMED

    async with asyncio.timeout(0.1) as pause.deadline:
        assert await ask(PlayedPeer(answers=think), ELICIT, {}, pause) == NAMED
        assert (pause.deadline.when() or 0) <= asyncio.get_running_loop().time() + 0.1


async def test_the_clock_goes_on_after_the_last_of_several_answers() -> None:
    pause = Pause()
    async with asyncio.timeout(60) as deadline:
        pause.deadline = deadline
        with pause:
            with pause:
                assert deadline.when() is None
            assert deadline.when() is None
        assert deadline.when() is not None


async def test_a_question_that_outlives_its_call_does_no_harm() -> None:
    pause = Pause()
    pause.__enter__()
    async with asyncio.timeout(60) as pause.deadline:
        with pause:
            pass
    pause.__exit__()


async def test_a_client_that_never_answers_refuses_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.01)

    async def never(method: str, params: dict[str, Any]) -> dict[str, Any]:
        del method, params
        return await asyncio.Event().wait()  # type: ignore[return-value]

    with pytest.raises(PeerRefused, match="no answer within"):
        await ask(PlayedPeer(answers=never), ELICIT, {}, Pause())


async def test_a_client_is_not_asked_what_it_did_not_declare() -> None:
    peer = PlayedPeer(capabilities={"elicitation": {}})
    with pytest.raises(PeerRefused, match=r"does not offer elicitation\.url"):
        await ask(peer, ELICIT, URL, Pause())
    assert not peer.asked


def test_of_an_errors_data_only_what_a_client_can_act_on_is_passed_on() -> None:
    elicitation = {"mode": "url", "message": "m", "url": "https://example.org", "elicitationId": "1"}
    data = {"elicitations": [{**elicitation, "own": 1}, {"mode": "url"}, "odd", {"url": 1, "message": "m"}], "own": 2}
    assert select_error_data(URL_ELICITATION_REQUIRED, data) == {"elicitations": [elicitation]}
    assert select_error_data(URL_ELICITATION_REQUIRED, "odd") == {"elicitations": []}
    required = {"requiredCapabilities": {"elicitation": {"form": {"own": 1}}, "own": {}}}
    selected = select_error_data(MISSING_REQUIRED_CLIENT_CAPABILITY, required)
    assert selected == {"requiredCapabilities": {"elicitation": {"form": {}}}}
    assert select_error_data(MISSING_REQUIRED_CLIENT_CAPABILITY, {"requiredCapabilities": {"own": {}}}) is None
    assert select_error_data(-32000, data) is None
