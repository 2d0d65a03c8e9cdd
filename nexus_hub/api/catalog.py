"""`/v1/tools`, `/v1/resources` and `/v1/prompts`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.problems import Json
from nexus_hub.api.queries import Cursor, Limit, Truth
from nexus_hub.catalog import read
from nexus_hub.catalog.bundle_read import show_in_bundle
from nexus_hub.catalog.read import ToolFilters
from nexus_hub.errors import NotFound

router = APIRouter(prefix="/v1", tags=["catalog"])


def _filters(
    query: str | None = None,
    server: str | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    return {"query": query, "server": server, "limit": limit, "cursor": cursor}


Filters = Annotated[dict[str, Any], Depends(_filters)]


@router.get("/tools", dependencies=HEAVY)
async def list_tools(
    principal: Asking,
    runtime: RuntimeOf,
    filters: Filters,
    tag: str | None = None,
    read_only: Truth = False,
    compact: Truth = False,
    bundle: str | None = None,
) -> Any:
    """List tools by name, or with a query those that matter for it, the best first; with `bundle` those of a bundle."""
    wanted = ToolFilters(filters.pop("server"), tag, read_only, bundle)
    return Json(await runtime.finder.find_tools(principal, wanted, compact=compact, **filters))


@router.get("/tools/{name}", responses=answers(404))
async def show_tool(name: str, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show a tool by its namespaced name, with its full definition."""
    try:
        return Json(await read.show(runtime.database, principal, name))
    except NotFound as error:
        missing = error
    try:
        return Json(await show_in_bundle(runtime.database, principal, name))
    except NotFound:
        raise missing from None


@router.get("/resources", dependencies=HEAVY)
async def list_resources(principal: Asking, runtime: RuntimeOf, filters: Filters) -> Any:
    """List resources and resource templates by URI."""
    return Json(await read.list_entries(runtime.database, principal, "resources", **filters))


@router.get("/prompts", dependencies=HEAVY)
async def list_prompts(principal: Asking, runtime: RuntimeOf, filters: Filters) -> Any:
    """List prompts by name."""
    return Json(await read.list_entries(runtime.database, principal, "prompts", **filters))
