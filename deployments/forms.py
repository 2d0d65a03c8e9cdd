"""The forms of Prefect's UI: of a flow's parameters those that a person fills in."""

from typing import Any

from prefect import Flow

from deployments.registry import Deployed
from deployments.worker.prefect_internals import parameter_schema
from nexus_hub.orchestration.tool_choices import offer_tools, offered_tools

FILLED_BY_THE_HUB = frozenset({"job_id", "attempt", "batch_id"})


def build_form(deployed: Deployed, former: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the form of a deployment; what the former one offers to choose from stays."""
    form = parameter_schema(deployed.flow()).model_dump_for_openapi()
    properties = {name: field for name, field in form["properties"].items() if name not in FILLED_BY_THE_HUB}
    for name in deployed.required:
        properties[name].pop("default", None)
    required = [name for name in form.get("required", []) if name in properties]
    form |= {"properties": properties, "required": [*required, *deployed.required]}
    return offer_tools(form, offered_tools(former or {})) if "tool" in properties else form


def describe(flow: Flow[..., Any]) -> str:
    """The first part of a flow's docstring: what follows, of its parameters, stands in the form."""
    return (flow.description or "").partition("\n\nArgs:")[0]
