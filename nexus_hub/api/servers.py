"""`/v1/servers`."""

import math
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from nexus_hub.access import users
from nexus_hub.api.access import HEAVY, UPSTREAM, Asking, RuntimeOf, choose_owner
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import Cursor, Limit, described
from nexus_hub.errors import InvalidConfig, NotAllowed, NotFound
from nexus_hub.models import Principal, ServerRef, ServerType
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.runtime import Runtime
from nexus_hub.servers import registry
from nexus_hub.upstream.config import LONGEST_CONNECT_SECONDS, HttpConfig, StdioConfig
from nexus_hub.upstream.snapshot import Snapshot

router = APIRouter(prefix="/v1/servers", tags=["servers"])
_TRIED = answers(403, 404, 409, 502, 504)


class NewServer(BaseModel):
    """A server to register: by `url` and `headers`, or by `command`, `args` and `env`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    url: str | None = None
    headers: dict[str, SecretStr] | None = None
    command: str | None = None
    args: list[str] | None = None
    env: dict[str, SecretStr] | None = None
    owner: str | None = None
    limit_per_minute: int | None = described(None, minimum=1, maximum=registry.HIGHEST_LIMIT)
    user_limit_per_minute: int | None = described(None, minimum=1, maximum=registry.HIGHEST_LIMIT)
    dry_run: bool = False
    connect_seconds: float | None = Field(default=None, gt=0, le=LONGEST_CONNECT_SECONDS)

    def to_config(self) -> HttpConfig | StdioConfig:
        """Give the library's form of it.

        Raises:
            InvalidConfig: it is neither of the two, or both.
        """
        if self.url and not (self.command or self.args or self.env):
            return HttpConfig(url=self.url, headers=self.headers or {}, connect_seconds=self.connect_seconds)
        if self.command and not (self.url or self.headers):
            return StdioConfig(
                command=self.command,
                args=tuple(self.args or ()),
                env=self.env or {},
                connect_seconds=self.connect_seconds,
            )
        raise InvalidConfig("A server has either a url (with headers) or a command (with args and env).")


@router.post(
    "",
    status_code=201,
    dependencies=UPSTREAM,
    responses={**answers(403, 404, 409, 502, 504), 204: {"description": "With dry_run: it would be tried"}},
)
async def register_server(body: NewServer, response: Response, principal: Asking, runtime: RuntimeOf) -> Any:
    """Try a server, and store it with what it offers; with `dry_run` only say what would be refused before that."""
    named = await users.find(runtime.database, body.owner) if body.owner and principal.is_operator else None
    if body.owner and not principal.is_operator:
        raise NotAllowed("Only an operator may register a server for somebody else.")
    owner, limits = choose_owner(principal, named), Limits(body.limit_per_minute, body.user_limit_per_minute)
    if body.dry_run:
        await runtime.servers.check(body.name, body.to_config(), owner=owner, limits=limits)
        return Response(status_code=204)
    server = await runtime.servers.register(body.name, body.to_config(), owner=owner, limits=limits)
    response.headers["Location"] = f"/v1/servers/{server.server_type}/{server.id}"
    return server


@router.get("", dependencies=HEAVY)
async def list_servers(principal: Asking, runtime: RuntimeOf, limit: Limit = 100, cursor: Cursor = None) -> Any:
    """List servers by name; nothing secret is in it."""
    return await registry.list_servers(runtime.database, principal, limit=limit, cursor=cursor)


@router.get("/{ref}", responses=answers(404, 409))
async def find_server(ref: str, principal: Asking, runtime: RuntimeOf) -> Any:
    """Find a server by name or id."""
    return await registry.find(runtime.database, principal, ref)


@router.get("/{server_type}/{server_ref_id}", responses=answers(404))
async def show_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show a server by its reference."""
    return await _find_visible(runtime, principal, server_type, server_ref_id)


@router.get("/{server_type}/{server_ref_id}/limit", responses=answers(404))
async def show_limit(
    server_type: ServerType, server_ref_id: UUID, response: Response, principal: Asking, runtime: RuntimeOf
) -> Any:
    """Show the calls that are left in this minute, and when to come back; asking counts no call."""
    server = await _find_visible(runtime, principal, server_type, server_ref_id)
    limits = Limits(server.limit_per_minute, server.user_limit_per_minute)
    used = await runtime.limiter.peek(server_ref_id, principal.user_id, limits)
    wait = max((one.retry_after for one in used), default=0.0)
    if used:
        response.headers["RateLimit-Policy"] = ", ".join(f'"{one.scope}";q={one.quota};w=60' for one in used)
        response.headers["RateLimit"] = ", ".join(
            f'"{one.scope}";r={one.remaining};t={math.ceil(one.reset_after)}' for one in used
        )
    if wait:
        response.headers["Retry-After"] = str(math.ceil(wait))
    return {
        "limit_per_minute": limits.per_minute,
        "user_limit_per_minute": limits.per_user,
        "remaining": min((one.remaining for one in used), default=None),
        "retry_after": wait,
        "reset_after": max((one.reset_after for one in used), default=0.0),
    }


@router.delete("/{server_type}/{server_ref_id}", status_code=204, responses=answers(403, 404))
async def remove_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> None:
    """Remove a server and what is cached of it; its jobs stay."""
    await runtime.servers.remove(principal, ServerRef(server_type, server_ref_id))


@router.post("/{server_type}/{server_ref_id}/sync", responses=_TRIED, dependencies=UPSTREAM)
async def sync_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Read anew what a server offers, and store it; of a system server for operators only."""
    await _require_manager(runtime, principal, server_type, server_ref_id)
    return _count(await runtime.refresher.refresh(ServerRef(server_type, server_ref_id)))


@router.post("/{server_type}/{server_ref_id}/test", responses=_TRIED, dependencies=UPSTREAM)
async def test_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Connect anew and count what a server offers; of a system server for operators only."""
    await _require_manager(runtime, principal, server_type, server_ref_id)
    return _count(await runtime.servers.test(ServerRef(server_type, server_ref_id)))


async def _find_visible(
    runtime: Runtime, principal: Principal, server_type: ServerType, server_ref_id: UUID
) -> registry.ListedServer:
    server = await registry.find(runtime.database, principal, str(server_ref_id))
    if server.server_type != server_type:
        raise NotFound("server", f"{server_type}/{server_ref_id}")
    return server


async def _require_manager(
    runtime: Runtime, principal: Principal, server_type: ServerType, server_ref_id: UUID
) -> None:
    server = await _find_visible(runtime, principal, server_type, server_ref_id)
    if server_type == "system" and not principal.is_operator:
        raise NotAllowed(f"Only an operator may try or refresh the system server {server.name!r}.")


def _count(seen: Snapshot) -> dict[str, Any]:
    return {
        "protocol_version": seen.protocol_version,
        "server_info": seen.server_info,
        "tools": len(seen.tools),
        "resources": len(seen.resources) + len(seen.resource_templates),
        "prompts": len(seen.prompts),
        "omitted": seen.omitted,
    }
