"""`POST /v1/servers:import`: the servers of an MCP client's file."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import UPSTREAM, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.json_text import write
from nexus_hub.servers.imports import import_servers
from nexus_hub.telemetry.trail import note

router = APIRouter(tags=["servers"])


class ServerFile(Body):
    """The file, as its text or as the object that is in it."""

    mcp_json: dict[str, Any] | str
    dry_run: bool = False

    def to_text(self) -> str:
        """Give the file's text."""
        return self.mcp_json if isinstance(self.mcp_json, str) else write(self.mcp_json).decode()


@router.post("/v1/servers:import", dependencies=UPSTREAM, responses=answers(409, 502, 504))
async def import_file(body: ServerFile, principal: Asking, runtime: RuntimeOf) -> Any:
    """Register the servers of a file one by one; with `dry_run` only say what would be refused before that."""
    items = await import_servers(runtime.servers, body.to_text(), principal.user_id, dry_run=body.dry_run)
    if isinstance(body.mcp_json, dict):  # which has no lines of its own
        items = [replace(item, line=None) for item in items]
    note(target=", ".join(item.name for item in items if item.outcome == "registered") or "none")
    return {"items": items}
