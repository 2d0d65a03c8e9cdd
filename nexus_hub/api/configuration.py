"""`/v1/configuration`: the hub's configuration as one document, for operators."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from nexus_hub.api.access import HEAVY, Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.problems import Json
from nexus_hub.api.rows import AsSentRoute
from nexus_hub.configuration.apply import Configurations
from nexus_hub.configuration.checks import parse
from nexus_hub.configuration.export import export
from nexus_hub.configuration.plan import Plan, find_drift
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.trail import note
from nexus_hub.vault.sealing import Vault

router = APIRouter(prefix="/v1", tags=["configuration"], responses=answers(403), route_class=AsSentRoute)


class WantedConfiguration(Body):
    """The configuration that is wanted, as docs/hub-yaml.md has it, with its references replaced.

    With `prune` what it does not name is removed, in the sections that it has.
    """

    configuration: dict[str, Any] = Field(repr=False)
    prune: bool = False


def _open(runtime: Runtime) -> Configurations:
    return Configurations(runtime.database, Vault(runtime.keyring))


@router.post("/configuration:plan", dependencies=HEAVY)
async def plan_configuration(body: WantedConfiguration, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Say what would change; of secrets no value is told."""
    plan = await _open(runtime).plan(parse(body.configuration), prune=body.prune)
    return Json(_describe(plan))


@router.post("/configuration:apply", dependencies=HEAVY, responses=answers(409))
async def apply_configuration(body: WantedConfiguration, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Make the hub's configuration what is wanted: all of it, or nothing; catalogs are read after."""
    applied = await _open(runtime).apply(parse(body.configuration), prune=body.prune)
    counts = Counter(f"{change.section} {change.change}" for change in applied.plan.changes)
    note(target=", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "no change")
    for ref, name in applied.to_read:
        runtime.changes.note(ref, name)
    return Json(_describe(applied.plan))


@router.get("/configuration", dependencies=HEAVY)
async def show_configuration(_operator: Operating, runtime: RuntimeOf) -> Any:
    """Show the configuration that the hub has, with a variable in place of each secret."""
    present = await _open(runtime).read()
    exported = export(present)
    return Json(
        {
            "configuration": exported.document,
            "secrets": [{"name": name, "path": path} for name, path in exported.secrets.items()],
            "unopened": exported.unopened,
            "drift": [asdict(change) for change in find_drift(present)],
            "applied_at": present.applied.applied_at if present.applied else None,
        }
    )


def _describe(plan: Plan) -> dict[str, Any]:
    said = asdict(plan)
    return said | {"not_in_file": [{"section": section, "name": name} for section, name in plan.not_in_file]}
