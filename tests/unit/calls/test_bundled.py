"""Calls by names of bundles: what goes to the server, and what is said of it when that goes wrong."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus_hub.calls.bundled import BundledCall, find_bundled
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog.bundles import Bundle, BundleEntry, Bundles
from nexus_hub.errors import (
    HubError,
    InvalidArguments,
    LoginNeeded,
    NotFound,
    NotOffered,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nexus_hub.models import BundleCall, ServerRef
from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest

REF, OTHER = ServerRef("system", UUID(int=1)), ServerRef("system", UUID(int=2))
BUNDLE = uuid4()
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "units": {"enum": ["metric"]}},
    "required": ["city", "units"],
}


def said(source: str, kind: Any = "tool", **more: Any) -> BundleEntry:
    return BundleEntry(
        kind=kind,
        server="weather",
        source=source,
        id=uuid4(),
        bundle_id=BUNDLE,
        server_ref_id=REF.server_ref_id,
        state="ok",
        **more,
    )


FIXED = {"fixed": {"units": "metric"}, "hidden": ["debug"]}
NOW = said("now", name="today", **FIXED)
ALL = said("*")
ENTRIES = (NOW, ALL, said("x://1", "resource"), said("t://{id}", "template"), said("greet", "prompt", **FIXED))
TRAVEL = Bundle(id=BUNDLE, name="travel", entries=ENTRIES)


def bundled(entry: BundleEntry = NOW) -> BundledCall:
    return BundledCall(BundleCall(entry.id, "travel__today"), TRAVEL, entry)


def find(entry: BundleEntry, request: UpstreamRequest, ref: ServerRef = REF) -> BundledCall:
    return find_bundled(Bundles([TRAVEL]), BundleCall(entry.id, "travel__today"), ref, request)


def test_an_entry_stands_for_what_it_names_and_for_nothing_else() -> None:
    _, _, resource, template, prompt = ENTRIES
    assert find(NOW, ToolCall("now")).entry is NOW
    assert find(ALL, ToolCall("soon")).entry is ALL
    assert find(template, ResourceRead("t://5")).bundle is TRAVEL
    wrong: list[tuple[BundleEntry, UpstreamRequest, ServerRef]] = [
        (NOW, ToolCall("soon"), REF),
        (NOW, ToolCall("now"), OTHER),
        (ALL, ToolCall("now"), REF),  # or what is fixed for it could be left out
        (NOW, PromptGet("now"), REF),
        (resource, ResourceRead("x://2"), REF),
        (template, ResourceRead("x://1"), REF),
        (prompt, ToolCall("greet"), REF),
        (said("now"), ToolCall("now"), REF),
    ]
    for entry, request, ref in wrong:
        with pytest.raises(NotFound):
            find(entry, request, ref)


def test_what_is_fixed_goes_along_and_nobody_else_may_send_it() -> None:
    sent = bundled().complete(ToolCall("now", {"city": "Oslo"}))
    assert sent == ToolCall("now", {"city": "Oslo", "units": "metric"})
    assert bundled().complete(PromptGet("greet", {})) == PromptGet("greet", {"units": "metric"})
    for arguments in ({"units": "metric"}, {"debug": None}):
        with pytest.raises(InvalidArguments, match=next(iter(arguments))):
            bundled().complete(ToolCall("now", arguments))
    with pytest.raises(InvalidArguments, match="units"):
        bundled().complete(Completion({}, {"name": "units", "value": ""}))


def test_a_completion_knows_what_is_fixed_and_takes_nothing_else_for_it() -> None:
    asked = Completion({"name": "greet"}, {"name": "who", "value": ""}, {"arguments": {"units": "imperial"}})
    with pytest.raises(InvalidArguments, match="'units' is no argument here"):
        bundled().complete(asked)
    for context in (None, {"arguments": {"city": "Oslo"}}):
        sent = bundled().complete(replace(asked, context=context))
        assert isinstance(sent, Completion)
        assert sent.context == {"arguments": {**(context or {}).get("arguments", {}), "units": "metric"}}


@pytest.mark.parametrize(("sees_server", "link"), [(True, "http://hub/servers/system/1"), (False, None)])
def test_a_login_is_led_to_by_who_sees_the_server_alone(sees_server: bool, link: str | None) -> None:
    call = replace(bundled(), sees_server=sees_server)
    with pytest.raises(LoginNeeded) as told, call.speak(REF):
        raise LoginNeeded("weather", "nobody has logged in", "http://hub/servers/system/1")
    assert (told.value.link, told.value.server, told.value.is_yours) == (link, "travel", sees_server)
    assert "weather" not in told.value.message
    assert ("http" in told.value.message) == sees_server


def test_faults_are_told_of_in_terms_of_what_the_caller_has_given() -> None:
    with pytest.raises(InvalidArguments, match="today: the arguments: 'city' is required") as refused:
        bundled().check(Schema(SCHEMA), {}, {"units": "metric"})
    assert "units" not in refused.value.message
    with pytest.raises(InvalidArguments, match="an operator can mend") as refused:
        bundled().check(Schema(SCHEMA), {"city": "Oslo"}, {"city": "Oslo", "units": "none"})
    assert "units" not in refused.value.message


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("weather", "The server 'weather' does not answer; see nexus-hub server login weather."),
        UpstreamRejected("weather", -32603, "No."),
        NotFound("server", REF),
        NotFound("server", REF.server_ref_id),
        NotFound("tool", "weather"),
    ],
)
def test_an_error_names_the_bundle_in_place_of_the_server_and_is_made_anew(error: HubError) -> None:
    before = error.message
    with pytest.raises(type(error)) as told, bundled().speak(REF):
        raise error
    assert told.value.code == error.code
    assert told.value is not error
    assert error.message == before, "others may wait for the same connection"
    assert "weather" not in told.value.message
    assert str(REF.server_ref_id) not in told.value.message
    assert getattr(told.value, "server", "travel") == "travel"


def test_what_is_switched_off_is_not_there() -> None:
    for error in (NotOffered.server("weather"), NotOffered.tool("now", held=True)):
        with pytest.raises(NotFound, match="There is no tool 'today'"), bundled().speak(REF):
            raise error
