"""Snapshot of a server: its self-description and all it offers, read page by page."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND
from pydantic import BaseModel

from nexus_hub.errors import UpstreamRejected
from nexus_hub.upstream.wire import Wire

MAX_ITEMS = 5_000
MAX_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server's self-description; tools, resources, templates and prompts are as on the wire."""

    protocol_version: str
    server_info: dict[str, Any] | None
    instructions: str | None
    capabilities: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    resource_templates: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)


_LISTINGS: dict[str, Callable[[types.PaginatedRequestParams], types.ClientRequest]] = {
    "tools": lambda params: types.ListToolsRequest(params=params),
    "resources": lambda params: types.ListResourcesRequest(params=params),
    "resourceTemplates": lambda params: types.ListResourceTemplatesRequest(params=params),
    "prompts": lambda params: types.ListPromptsRequest(params=params),
}
"""From the member of the answer that holds the entries to the request that asks for them."""


async def take(session: ClientSession, server: str) -> Snapshot:
    """Ask an open session for everything its capabilities announce.

    Raises UpstreamRejected when a listing has more than 5,000 entries or 1,000 pages, or comes round in a circle.
    """
    await _discover_again(session)
    capabilities = session.server_capabilities or types.ServerCapabilities()
    asked = [
        *(["tools"] if capabilities.tools else []),
        *(["resources", "resourceTemplates"] if capabilities.resources else []),
        *(["prompts"] if capabilities.prompts else []),
    ]
    found = {member: await _list_entries(session, server, member) for member in asked}
    return Snapshot(
        protocol_version=session.protocol_version or "",
        server_info=_as_on_the_wire(session.server_info) if session.server_info else None,
        instructions=session.instructions,
        capabilities=_as_on_the_wire(capabilities),
        tools=found.get("tools", []),
        resources=found.get("resources", []),
        resource_templates=found.get("resourceTemplates", []),
        prompts=found.get("prompts", []),
    )


async def _discover_again(session: ClientSession) -> None:
    """Renew the self-description, which may be old where the protocol has no sessions."""
    if session.discover_result is not None and session.protocol_version is not None:
        raw = await session.send_discover(session.protocol_version)
        session.adopt(types.DiscoverResult.model_validate(raw))


async def _list_entries(session: ClientSession, server: str, member: str) -> list[dict[str, Any]]:
    """Read all pages of a listing; none when the server announces it and doesn't know the method."""
    try:
        return await _list_pages(session, server, member)
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return []


async def _list_pages(session: ClientSession, server: str, member: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    seen: set[str | None] = {None}
    cursor: str | None = None
    while len(seen) <= MAX_PAGES:
        request = _LISTINGS[member](types.PaginatedRequestParams(cursor=cursor))
        page = (await session.send_request(request, Wire)).root
        entries += page[member]
        cursor = page.get("nextCursor")
        if len(entries) > MAX_ITEMS:
            raise UpstreamRejected(server, INVALID_REQUEST, f"it lists more than {MAX_ITEMS} {member}")
        if cursor is None:
            return entries
        if cursor in seen:
            raise UpstreamRejected(server, INVALID_REQUEST, f"its list of {member} comes round in a circle")
        seen.add(cursor)
    raise UpstreamRejected(server, INVALID_REQUEST, f"its list of {member} has more than {MAX_PAGES} pages")


def _as_on_the_wire(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)
