"""`/v1/tools`, `/v1/resources` and `/v1/prompts`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from nexus_hub.api.access import HEAVY, LIGHT, Asking, RuntimeOf
from nexus_hub.catalog import read

router = APIRouter(prefix="/v1", tags=["catalog"])


def _filters(
    query: str | None = None,
    server: str | None = None,
    limit: Annotated[int, Query()] = 100,
    cursor: str | None = None,
) -> dict[str, Any]:
    return {"query": query, "server": server, "limit": limit, "cursor": cursor}


Filters = Annotated[dict[str, Any], Depends(_filters)]


@router.get("/tools", dependencies=HEAVY)
async def list_tools(principal: Asking, runtime: RuntimeOf, filters: Filters, compact: bool = False) -> Any:
    """List tools by name, or with a query those that matter for it, the best first."""
    return await read.list_entries(runtime.database, principal, "tools", compact=compact, **filters)


@router.get("/tools/{name}", dependencies=LIGHT)
async def show_tool(name: str, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show a tool by its namespaced name, with its full definition."""
    return await read.show(runtime.database, principal, name)


@router.get("/resources", dependencies=HEAVY)
async def list_resources(principal: Asking, runtime: RuntimeOf, filters: Filters) -> Any:
    """List resources and resource templates by URI."""
    return await read.list_entries(runtime.database, principal, "resources", **filters)


@router.get("/prompts", dependencies=HEAVY)
async def list_prompts(principal: Asking, runtime: RuntimeOf, filters: Filters) -> Any:
    """List prompts by name."""
    return await read.list_entries(runtime.database, principal, "prompts", **filters)
