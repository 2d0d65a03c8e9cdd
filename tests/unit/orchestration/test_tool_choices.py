"""The tools that the form of `invoke-tool` offers."""

from typing import Any

from nexus_hub.orchestration.tool_choices import CHOICES_LIMIT, offer_tools, offered_tools

FORM: dict[str, Any] = {
    "properties": {"tool": {"type": "string", "title": "tool", "position": 0}, "user": {"type": "string"}},
    "required": ["tool"],
}


def test_a_few_tools_are_offered_and_another_name_can_be_typed() -> None:
    form = offer_tools(FORM, ["a", "b"])
    assert offered_tools(form) == ["a", "b"]
    tool = form["properties"]["tool"]
    assert tool["anyOf"][1] == {"title": "Another name", "type": "string"}
    assert (tool["title"], tool["position"]) == ("tool", 0)
    assert "type" not in tool, "a type beside the choices would forbid neither, and hide the list in Prefect's UI"
    assert form["properties"]["user"] == FORM["properties"]["user"]


def test_without_tools_or_with_too_many_the_name_is_typed() -> None:
    offering = offer_tools(FORM, ["a"])
    assert offer_tools(offering, []) == FORM
    assert offer_tools(offering, [str(number) for number in range(CHOICES_LIMIT + 1)]) == FORM
    assert len(offered_tools(offer_tools(FORM, [str(number) for number in range(CHOICES_LIMIT)]))) == CHOICES_LIMIT


def test_a_form_that_offers_nothing_is_read_as_such() -> None:
    assert offered_tools({}) == offered_tools(FORM) == []
