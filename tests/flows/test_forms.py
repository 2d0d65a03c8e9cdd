"""The forms of Prefect's UI: they ask for what a person fills in, and for nothing else."""

from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from deployments.forms import build_form, describe
from deployments.registry import DEPLOYED, Deployed
from nexus_hub.orchestration.prefect_client import BATCH_FLOW, CHECKS, FLOWS, MAINTENANCE_FLOWS
from nexus_hub.orchestration.tool_choices import offer_tools, offered_tools

FIELDS = {
    "invoke-tool": ["tool", "arguments", "user"],
    "fetch-resource": ["server", "uri", "user"],
    "execute-prompt": ["prompt", "arguments", "user"],
    "invoke-batch": [],
    "refresh-catalog": ["server"],
    "rotate-vault-key": ["old_key_id", "new_key_id"],
    "cleanup-jobs": ["days_completed", "days_orphaned"],
    "check-jobs": [],
    "refresh-logins": [],
}


def form_of(name: str) -> dict[str, Any]:
    return build_form(next(one for one in DEPLOYED if one.name == name))


@pytest.mark.parametrize("deployed", DEPLOYED, ids=lambda one: one.name)
def test_a_form_asks_for_what_a_person_fills_in(deployed: Deployed) -> None:
    form = build_form(deployed)
    is_valid_schema(form)
    by_position = sorted(form["properties"], key=lambda name: form["properties"][name]["position"])
    assert by_position == FIELDS[deployed.name]
    assert all(form["properties"][name]["description"] for name in by_position)


@pytest.mark.parametrize("deployed", DEPLOYED, ids=lambda one: one.name)
def test_a_deployment_is_named_like_its_flow(deployed: Deployed) -> None:
    assert deployed.flow().name == deployed.name


def test_the_library_knows_the_deployments_by_their_names() -> None:
    known = {*FLOWS.values(), BATCH_FLOW, *MAINTENANCE_FLOWS.values(), *CHECKS}
    assert known == {one.name for one in DEPLOYED}


@pytest.mark.parametrize(
    ("name", "required"),
    [("invoke-tool", ["tool"]), ("fetch-resource", ["server", "uri"]), ("execute-prompt", ["prompt"])],
)
def test_what_a_job_needs_is_marked_as_required(name: str, required: list[str]) -> None:
    form = form_of(name)
    assert form["required"] == required
    assert not [one for one in required if "default" in form["properties"][one]], "a default would make it optional"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"tool": "srv__one", "arguments": {"a": 1}}, True),
        ({"tool": "users__own", "user": "flora"}, True),
        ({"tool": "srv__one", "job_id": "the hub's own runs give it"}, True),
        ({"tool": 7}, False),
        ({"arguments": {}}, False),
        ({"tool": "srv__one", "arguments": []}, False),
    ],
)
def test_prefect_takes_offered_tools_and_others_by_name(given: dict[str, Any], taken: bool) -> None:
    form = offer_tools(form_of("invoke-tool"), ["srv__one", "srv__two"])
    assert (not validate(given, form)) is taken


def test_deploying_again_keeps_the_tools_that_are_offered() -> None:
    deployed = next(one for one in DEPLOYED if one.name == "invoke-tool")
    former = offer_tools(build_form(deployed), ["srv__one"])
    assert build_form(deployed, former) == former
    assert offered_tools(build_form(deployed, None)) == []


def test_a_description_says_nothing_of_the_hubs_own_parameters() -> None:
    for deployed in DEPLOYED:
        assert describe(deployed.flow())
        assert "job_id" not in describe(deployed.flow())
