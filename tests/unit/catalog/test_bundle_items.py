"""What a bundle offers of what servers offer: names of its own, words of its own, fewer arguments."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from nexus_hub.catalog.bundle_items import arrange, show_anew
from nexus_hub.catalog.bundles import Bundle, BundleEntry, EntryKind
from nexus_hub.catalog.names import make_namespaced
from nexus_hub.models import ServerRef

WEATHER, MAIL = ServerRef("system", UUID(int=1)), ServerRef("system", UUID(int=2))
NAMES = {WEATHER: "weather", MAIL: "mail"}
BUNDLE = uuid4()


@dataclass(frozen=True)
class Thing:
    """Something that a server offers."""

    ref: ServerRef
    name: str

    @property
    def public(self) -> str:
        return make_namespaced(NAMES[self.ref], self.name)


def said(ref: ServerRef, source: str, name: str | None = None, kind: EntryKind = "tool", **more: Any) -> BundleEntry:
    return BundleEntry(
        kind=kind,
        server=NAMES[ref],
        source=source,
        name=name,
        id=uuid4(),
        bundle_id=BUNDLE,
        server_ref_id=ref.server_ref_id,
        state="ok",
        **more,
    )


def names_of(*entries: BundleEntry, offered: list[Thing]) -> dict[str, str]:
    """The names of a bundle with these entries, and the server's own names of what is behind them."""
    bundle = Bundle(id=BUNDLE, name="travel", entries=entries)
    return {name: item.name for name, (_, item) in arrange(bundle, "tool", offered).items()}


def test_what_is_offered_goes_by_the_names_of_its_entries() -> None:
    offered = [Thing(WEATHER, "now"), Thing(WEATHER, "soon"), Thing(MAIL, "send")]
    assert names_of(said(WEATHER, "now", "today"), said(MAIL, "send"), offered=offered) == {
        "today": "now",
        "mail__send": "send",
    }
    assert names_of(said(WEATHER, "gone"), said(WEATHER, "now", kind="prompt"), offered=offered) == {}


def test_an_entry_for_all_leaves_out_what_has_entries_of_its_own() -> None:
    offered = [Thing(WEATHER, "now"), Thing(WEATHER, "soon"), Thing(MAIL, "send")]
    found = names_of(said(WEATHER, "*"), said(WEATHER, "now", "cold"), said(WEATHER, "now", "warm"), offered=offered)
    assert found == {"cold": "now", "warm": "now", "weather__soon": "soon"}


def test_of_a_name_that_comes_up_twice_the_one_with_its_own_entry_counts() -> None:
    offered = [Thing(WEATHER, "now"), Thing(MAIL, "send")]
    entries = said(WEATHER, "*"), said(MAIL, "send", "weather__now")
    assert names_of(*entries, offered=offered) == {"weather__now": "send"}


def test_what_is_fixed_or_hidden_is_in_no_definition() -> None:
    nested = {"type": "object", "properties": {"units": {}}, "required": ["units"]}
    schema = {"type": "object", "properties": {"city": {}, "units": {}, "debug": {}, "more": nested}}
    definition = {
        "name": "now",
        "description": "d",
        "annotations": {"title": "t", "readOnlyHint": True},
        "inputSchema": {**schema, "required": ["units", "city"]},
    }
    entry = said(WEATHER, "now", title="Today", description="", fixed={"units": "metric"}, hidden=["debug", "none"])
    shown = show_anew(entry, definition)
    assert shown["inputSchema"]["properties"] == {"city": {}, "more": nested}, "the uppermost level alone"
    assert shown["inputSchema"]["required"] == ["city"]
    assert (shown["title"], shown["description"], shown["annotations"]["title"]) == ("Today", "", "Today")
    assert definition["inputSchema"]["required"] == ["units", "city"], "others share it"  # type: ignore[index]
    bare = show_anew(entry, {"inputSchema": {"required": ["units"], "properties": []}})
    assert bare["inputSchema"] == {"properties": []}


def test_rules_among_arguments_do_not_speak_of_those_that_are_left_out() -> None:
    both = {"required": ["city", "units"]}
    schema = {
        "type": "object",
        "properties": {"city": {}, "units": {}},
        "allOf": [{"properties": {"units": {"enum": ["metric"]}, "city": {"type": "string"}}, **both}],
        "anyOf": [both, {"required": ["debug"]}],
        "oneOf": [{"required": ["city"]}],
        "if": {"properties": {"units": {}}},
        "dependentRequired": {"debug": ["city"]},
        "examples": [{"city": "Oslo", "units": "metric"}],
        "additionalProperties": False,
    }
    entry = said(WEATHER, "now", fixed={"units": "metric"}, hidden=["debug"])
    assert show_anew(entry, {"inputSchema": schema})["inputSchema"] == {
        "type": "object",
        "properties": {"city": {}},
        "allOf": [{"properties": {"city": {"type": "string"}}, "required": ["city"]}],
        "oneOf": [{"required": ["city"]}],
        "additionalProperties": False,
    }


def test_the_arguments_of_prompts_are_left_out_likewise() -> None:
    entry = said(MAIL, "greet", kind="prompt", fixed={"tone": "kind"})
    shown = show_anew(entry, {"arguments": [{"name": "who"}, {"name": "tone"}, "odd"]})
    assert shown["arguments"] == [{"name": "who"}, "odd"]
