"""`/v1/servers`."""

import math
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr

from nexus_hub.access import users
from nexus_hub.api.access import HEAVY, UPSTREAM, Asking, RuntimeOf, choose_owner
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.logins import log_in_machine
from nexus_hub.api.queries import Cursor, Limit, described
from nexus_hub.catalog.changes import count_changes
from nexus_hub.errors import InvalidConfig, NotAllowed, NotFound, NotOffered
from nexus_hub.json_text import write
from nexus_hub.models import Durable, Principal, ServerRef, ServerType
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.runtime import Runtime
from nexus_hub.servers import registry
from nexus_hub.servers.checks import HIGHEST_LIMIT
from nexus_hub.servers.limits import LimitChange, change_limits
from nexus_hub.servers.policies import LONGEST_HANDLE_SECONDS, PolicyChange, change_policy
from nexus_hub.servers.switches import switch_server
from nexus_hub.servers.traits import LONGEST_TTL_SECONDS, SHORTEST_TTL_SECONDS, TraitChange, change_traits
from nexus_hub.telemetry.trail import note
from nexus_hub.upstream.config import LONGEST_CONNECT_SECONDS, HeaderLogin, HttpConfig, OAuthLogin, StdioConfig
from nexus_hub.upstream.snapshot import Snapshot

router = APIRouter(prefix="/v1/servers", tags=["servers"])
_TRIED = answers(403, 404, 409, 502, 504)
_SWITCHES = ("enabled", "pin", "access", "tags", "ttl_seconds")


class Traits(Body):
    """The traits of a server: for whom it is there, its tags, its pin, and how long its catalog is good."""

    access: Literal["open", "closed"] | None = None
    tags: list[str] = Field(default_factory=list)
    pin: bool = False
    ttl_seconds: int | None = described(None, minimum=SHORTEST_TTL_SECONDS, maximum=LONGEST_TTL_SECONDS)

    def to_traits(self) -> TraitChange:
        """Give the library's form of what it says of traits."""
        says = self.model_fields_set & set(Traits.model_fields)
        return TraitChange(frozenset(says), self.access, self.tags, self.pin, self.ttl_seconds)


class NewServer(Traits):
    """A server to register: by `url`, `headers` and `login`, or by `command`, `args` and `env`."""

    name: str
    url: str | None = None
    headers: dict[str, SecretStr] | None = None
    command: str | None = None
    args: list[str] | None = None
    env: dict[str, SecretStr] | None = None
    login: OAuthLogin | HeaderLogin | None = Field(default=None, discriminator="kind")
    credentials: Literal["shared", "per-user"] | None = None
    owner: str | None = None
    limit_per_minute: int | None = described(None, minimum=1, maximum=HIGHEST_LIMIT)
    user_limit_per_minute: int | None = described(None, minimum=1, maximum=HIGHEST_LIMIT)
    durable: Durable | None = None
    handle_seconds: float | None = Field(default=None, ge=0, le=LONGEST_HANDLE_SECONDS)
    dry_run: bool = False
    enabled: bool = True
    connect_seconds: float | None = Field(default=None, gt=0, le=LONGEST_CONNECT_SECONDS)

    def to_config(self) -> HttpConfig | StdioConfig:
        """Give the library's form of it.

        Raises:
            InvalidConfig: it is neither of the two, or both.
        """
        if self.url and not (self.command or self.args or self.env):
            return HttpConfig(
                url=self.url,
                headers=self.headers or {},
                connect_seconds=self.connect_seconds,
                login=self.login,
                credentials=self.credentials or "shared",
            )
        if self.command and not (self.url or self.headers or self.login or self.credentials):
            return StdioConfig(
                command=self.command,
                args=tuple(self.args or ()),
                env=self.env or {},
                connect_seconds=self.connect_seconds,
            )
        raise InvalidConfig("A server has either a url (with headers and a login) or a command (with args and env).")


class ToolChange(Body):
    """Change of a single tool: how it is called, and if it is on."""

    durable: Durable | None = None
    enabled: bool = True


class ServerChange(Traits):
    """Change of a server's limits, traits and switch, and of how its tools are called: all, or single ones by name.

    Null takes a limit, a time or the access away, or a word back. Of a tool the word alone is said, or an object.
    """

    limit_per_minute: int | None = described(None, minimum=1, maximum=HIGHEST_LIMIT)
    user_limit_per_minute: int | None = described(None, minimum=1, maximum=HIGHEST_LIMIT)
    durable: Durable | None = None
    handle_seconds: float | None = Field(default=None, ge=0, le=LONGEST_HANDLE_SECONDS)
    tools: dict[str, ToolChange | Durable | None] = Field(default_factory=dict)
    enabled: bool = True

    def to_limits(self) -> LimitChange:
        """Give the library's form of what it says of limits."""
        says = self.model_fields_set & {"limit_per_minute", "user_limit_per_minute"}
        return LimitChange(frozenset(says), self.limit_per_minute, self.user_limit_per_minute)

    def to_change(self) -> PolicyChange:
        """Give the library's form of what it says of calls."""
        says = self.model_fields_set & {"durable", "handle_seconds"}
        durable: dict[str, Durable | None] = {}
        switched: dict[str, bool] = {}
        for name, said in self.tools.items():
            if not isinstance(said, ToolChange):
                durable[name] = said
                continue
            if "durable" in said.model_fields_set:
                durable[name] = said.durable
            if "enabled" in said.model_fields_set:
                switched[name] = said.enabled
        return PolicyChange(frozenset(says), self.durable, self.handle_seconds, durable, switched)

    def name_switches(self) -> str | None:
        """Say for the audit what is switched."""
        said = [f"{name} {write(getattr(self, name)).decode()}" for name in _SWITCHES if name in self.model_fields_set]
        tools = self.to_change().switched
        said += [f"tool {name} {'on' if is_on else 'off'}" for name, is_on in sorted(tools.items())]
        return "; ".join(said) or None


@router.post(
    "",
    status_code=201,
    dependencies=UPSTREAM,
    responses={**answers(403, 404, 409, 502, 504), 204: {"description": "With dry_run: it would be tried"}},
)
async def register_server(body: NewServer, response: Response, principal: Asking, runtime: RuntimeOf) -> Any:
    """Try a server, and store it with what it offers; with `dry_run` only say what would be refused before that.

    One that wants a login first is stored as `needs-login`, and what it offers comes after the login. With `enabled`
    false it is stored and not contacted, until somebody enables it.
    """
    named = await users.find(runtime.database, body.owner) if body.owner and principal.is_operator else None
    if body.owner and not principal.is_operator:
        raise NotAllowed("Only an operator may register a server for somebody else.")
    owner, limits = choose_owner(principal, named), Limits(body.limit_per_minute, body.user_limit_per_minute)
    note(target=body.name)
    if body.dry_run:
        note(target=f"{body.name} (dry run)")
        await runtime.servers.check(body.name, body.to_config(), owner=owner, limits=limits)
        return Response(status_code=204)
    said = {"durable": body.durable, "handle_seconds": body.handle_seconds}
    says = frozenset(name for name, value in said.items() if value is not None)
    policy = PolicyChange(says, body.durable, body.handle_seconds)
    config = body.to_config()
    server = await runtime.servers.register(
        body.name, config, owner=owner, limits=limits, policy=policy, traits=body.to_traits(), enabled=body.enabled
    )
    note(server_ref_id=server.id)
    if body.enabled:
        server = await log_in_machine(runtime, principal, server, config)
    response.headers["Location"] = f"/v1/servers/{server.server_type}/{server.id}"
    return await runtime.overviews.describe_one(principal, server)


@router.get("", dependencies=HEAVY)
async def list_servers(principal: Asking, runtime: RuntimeOf, limit: Limit = 100, cursor: Cursor = None) -> Any:
    """List servers by name; nothing secret is in it."""
    found = await registry.list_servers(runtime.database, principal, limit=limit, cursor=cursor)
    return {"items": await runtime.overviews.describe(principal, found.items), "next_cursor": found.next_cursor}


@router.get("/{ref}", responses=answers(404, 409))
async def find_server(ref: str, principal: Asking, runtime: RuntimeOf) -> Any:
    """Find a server by name or id."""
    return await runtime.overviews.describe_one(principal, await registry.find(runtime.database, principal, ref))


@router.get("/{server_type}/{server_ref_id}", responses=answers(404))
async def show_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show a server by its reference."""
    server = await _find_visible(runtime, principal, server_type, server_ref_id)
    return await runtime.overviews.describe_one(principal, server)


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


@router.patch("/{server_type}/{server_ref_id}", responses=answers(403, 404))
async def change_server(
    server_type: ServerType, server_ref_id: UUID, body: ServerChange, principal: Asking, runtime: RuntimeOf
) -> Any:
    """Change a server's limits, traits and switches, and how its tools are called; a system server's for operators."""
    await require_manager(runtime, principal, server_type, server_ref_id, "change")
    ref, policies = ServerRef(server_type, server_ref_id), body.to_change()
    policies.check()
    traits = body.to_traits()
    traits.check(ref)
    note(target=body.name_switches())
    if "enabled" in body.model_fields_set:
        is_switched = await switch_server(runtime.database, ref, enabled=body.enabled)
        if is_switched and body.enabled:
            runtime.changes.note(ref, str(server_ref_id))  # it is read at once
    await change_limits(runtime.database, ref, body.to_limits())
    await change_policy(runtime.database, ref, policies)
    await change_traits(runtime.database, ref, traits)
    if traits.says:
        runtime.notice_permissions()
    runtime.direct.forget(ref)
    server = await _find_visible(runtime, principal, server_type, server_ref_id)
    return await runtime.overviews.describe_one(principal, server)


@router.delete("/{server_type}/{server_ref_id}", status_code=204, responses=answers(403, 404))
async def remove_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> None:
    """Remove a server and what is cached of it; its jobs stay."""
    ref = ServerRef(server_type, server_ref_id)
    await runtime.servers.remove(principal, ref)
    runtime.direct.forget(ref)


@router.post("/{server_type}/{server_ref_id}/sync", responses=_TRIED, dependencies=UPSTREAM)
async def sync_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Read anew what a server offers, and store it; of a system server for operators only."""
    await _require_enabled(runtime, principal, server_type, server_ref_id)
    read = await runtime.refresher.read(ServerRef(server_type, server_ref_id))
    return _count(read.seen) | {"changes": count_changes(read.changes)}


@router.post("/{server_type}/{server_ref_id}/test", responses=_TRIED, dependencies=UPSTREAM)
async def test_server(server_type: ServerType, server_ref_id: UUID, principal: Asking, runtime: RuntimeOf) -> Any:
    """Connect anew and count what a server offers; of a system server for operators only."""
    await _require_enabled(runtime, principal, server_type, server_ref_id)
    return _count(await runtime.servers.test(ServerRef(server_type, server_ref_id)))


async def _find_visible(
    runtime: Runtime, principal: Principal, server_type: ServerType, server_ref_id: UUID
) -> registry.ListedServer:
    server = await registry.find(runtime.database, principal, str(server_ref_id))
    if server.server_type != server_type:
        raise NotFound("server", f"{server_type}/{server_ref_id}")
    return server


async def require_manager(
    runtime: Runtime,
    principal: Principal,
    server_type: ServerType,
    server_ref_id: UUID,
    action: str = "try or refresh",
) -> registry.ListedServer:
    """Let a caller through who looks after a server: an operator, or whose own it is.

    Raises:
        NotFound, NotAllowed: the caller does not see it, or sees it and nothing more.
    """
    server = await _find_visible(runtime, principal, server_type, server_ref_id)
    if server_type == "system" and not principal.is_operator:
        raise NotAllowed(f"Only an operator may {action} the system server {server.name!r}.")
    return server


async def _require_enabled(
    runtime: Runtime, principal: Principal, server_type: ServerType, server_ref_id: UUID
) -> None:
    server = await require_manager(runtime, principal, server_type, server_ref_id)
    if not server.enabled:
        raise NotOffered.server(server.name)


def _count(seen: Snapshot) -> dict[str, Any]:
    return {
        "protocol_version": seen.protocol_version,
        "server_info": seen.server_info,
        "tools": len(seen.tools),
        "resources": len(seen.resources) + len(seen.resource_templates),
        "prompts": len(seen.prompts),
        "omitted": seen.omitted,
    }
