"""`/v1/bundles`."""

from dataclasses import asdict, fields
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from nexus_hub.api.access import Asking, Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.problems import Json
from nexus_hub.api.queries import described
from nexus_hub.api.rows import AsSentRoute
from nexus_hub.catalog import bundles
from nexus_hub.catalog.bundles import Access, BundleEntry, BundleRow, BundleWords, EntryKind, NewEntry
from nexus_hub.models import Principal
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1/bundles", tags=["bundles"], route_class=AsSentRoute)
_NAMES = [one.name for one in fields(NewEntry)]


class EntryBody(Body):
    """An entry of a bundle."""

    kind: EntryKind
    server: str
    source: str
    name: str | None = None
    title: str | None = None
    description: str | None = None
    fixed: dict[str, Any] = Field(default_factory=dict)
    hidden: list[str] = Field(default_factory=list)

    def to_entry(self) -> NewEntry:
        """Give the library's form of it."""
        return NewEntry(**{name: getattr(self, name) for name in _NAMES})


class BundleBody(Body):
    """A bundle with all that is in it."""

    name: str
    title: str | None = None
    instructions: str | None = None
    access: Access | None = None
    entries: list[EntryBody] = described([], maxItems=bundles.MOST_ENTRIES)

    def to_words(self) -> BundleWords:
        """Give the library's form of what is said of the bundle itself."""
        return BundleWords(name=self.name, title=self.title, instructions=self.instructions, access=self.access)

    def to_entries(self) -> list[NewEntry]:
        """Give the library's form of its entries."""
        return [entry.to_entry() for entry in self.entries]


@router.get("")
async def list_bundles(principal: Asking, runtime: RuntimeOf) -> Any:
    """List the bundles that the caller may use, by name; for operators with what is in them."""
    if principal.is_operator:
        found = [_describe(one) for one in (await bundles.read_bundles(runtime.database)).all]
    else:
        found = [_describe_briefly(row) for row in await bundles.list_bundles(runtime.database, principal)]
    return Json({"items": found, "next_cursor": None})


@router.post("", status_code=201, responses=answers(403, 409))
async def add_bundle(body: BundleBody, response: Response, operator: Operating, runtime: RuntimeOf) -> Any:
    """Add a bundle."""
    note(target=body.name)
    async with runtime.database.transaction(bounded=True) as transaction:
        await bundles.add_bundle(transaction, body.to_words(), body.to_entries())
    shown = await _show(runtime, operator, body.name)
    return Json(shown, status_code=201, headers={"Location": f"/v1/bundles/{body.name}"})


@router.get("/{bundle}", responses=answers(404))
async def show_bundle(bundle: str, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show a bundle by its name or id; for operators with what is in it."""
    return Json(await _show(runtime, principal, bundle))


@router.put("/{bundle}", responses=answers(403, 404, 409))
async def change_bundle(bundle: str, body: BundleBody, operator: Operating, runtime: RuntimeOf) -> Any:
    """Make a bundle what the body says, with all of its entries at once."""
    async with runtime.database.transaction(bounded=True) as transaction:
        bundle_id = await bundles.change_bundle(transaction, bundle, body.to_words(), body.to_entries())
    return Json(await _show(runtime, operator, str(bundle_id)))


@router.delete("/{bundle}", status_code=204, responses=answers(403, 404))
async def remove_bundle(bundle: str, _operator: Operating, runtime: RuntimeOf) -> None:
    """Remove a bundle, and what groups are granted on it; jobs stay."""
    async with runtime.database.transaction(bounded=True) as transaction:
        await bundles.remove_bundle(transaction, bundle)


async def _show(runtime: Runtime, principal: Principal, ref: str) -> dict[str, Any]:
    row = await bundles.find_bundle(runtime.database, principal, ref)
    if not principal.is_operator:
        return _describe_briefly(row)
    return _describe((await bundles.read_bundles(runtime.database, row.id)).by_name[row.name])


def _describe_briefly(row: BundleRow) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "title": row.title, "instructions": row.instructions}


def _describe(bundle: bundles.Bundle) -> dict[str, Any]:
    entries = [_describe_entry(entry) for entry in bundle.entries]
    return _describe_briefly(bundle) | {"access": bundle.access, "entries": entries}


def _describe_entry(entry: BundleEntry) -> dict[str, Any]:
    said = asdict(entry)
    return {name: said[name] for name in ("id", *_NAMES, "state")}
