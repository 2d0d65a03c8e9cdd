"""Registry of upstream servers: register, list, open, try and remove them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.errors import UniqueViolation

from nexus_hub.catalog import store as catalog
from nexus_hub.catalog.bundles import find_taker
from nexus_hub.catalog.read import LONGEST_REF
from nexus_hub.catalog.store import UserLimits
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import (
    AlreadyRegistered,
    CannotOpen,
    Conflict,
    InvalidConfig,
    LoginNeeded,
    NameTaken,
    NotAllowed,
    NotFound,
    NotOffered,
    UnknownServer,
)
from nexus_hub.models import OPERATOR, Durable, Principal, ServerRef, ServerType
from nexus_hub.paging import Page, check_limit, decode, encode, page
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers.call_logins import CallLogins
from nexus_hub.servers.checks import check_server, check_transport
from nexus_hub.servers.login_offers import describe_login, is_found_login, try_server
from nexus_hub.servers.policies import PolicyChange, store_policy
from nexus_hub.servers.sealed_configs import open_sealed
from nexus_hub.servers.traits import NO_TRAITS, TraitChange, store_traits
from nexus_hub.settings import DAY_SECONDS
from nexus_hub.telemetry.trail import note
from nexus_hub.upstream.addresses import check_url
from nexus_hub.upstream.circuit import CircuitState
from nexus_hub.upstream.config import HttpConfig, StdioConfig, expose_secrets
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.display import describe_endpoint
from nexus_hub.upstream.snapshot import READ_SECONDS, Snapshot
from nexus_hub.vault.sealing import SealContext, Vault

SERVERS = load("servers")
NO_LIMITS = Limits()
NO_POLICY = PolicyChange()
NO_BOUNDS = UserLimits()


@dataclass(frozen=True, slots=True)
class ListedServer:
    """A server with the state of its catalog; nothing sealed is in it."""

    server_type: ServerType
    id: UUID
    user_id: UUID | None
    name: str
    transport: str
    endpoint: str | None
    limit_per_minute: int | None
    user_limit_per_minute: int | None
    enabled: bool
    revision: int
    created_at: datetime
    status: str | None
    last_refresh_at: datetime | None
    next_refresh_at: datetime | None
    last_error_code: str | None
    protocol_version: str | None
    server_info: dict[str, Any] | None
    omitted: list[dict[str, Any]]
    circuit: CircuitState
    circuit_since: datetime | None
    circuit_until: datetime | None
    tools: int
    resources: int
    prompts: int
    durable: Durable = "long"
    handle_seconds: float | None = None
    durable_tools: dict[str, Durable] = field(default_factory=dict)
    """The tools that have a word of their own."""
    off_tools: list[str] = field(default_factory=list)
    """The tools that are switched off, whether it offers them now or not."""
    held: int = 0
    """The tools that wait for approval."""
    owner: str | None = None
    """The user's name, for who is told of it."""
    failures: int = 0
    """The failures to read its catalog, in a row."""
    expires_at: datetime | None = None
    """The time at which the first entry of its catalog is due to be read anew."""
    login_kind: Literal["oauth", "header"] | None = None
    credentials: Literal["shared", "per-user"] = "shared"
    login_state: Literal["ready", "needed", "none"] | None = None
    """State of the login that calls of who asks take; None: it takes none."""
    login_reason: str | None = None
    login_expires_at: datetime | None = None
    access: Literal["open", "closed"] | None = None
    """For users of whom no grant speaks; None: as the hub's default has it."""
    tags: list[str] = field(default_factory=list)
    pin: bool = False
    """Tools that are new or changed are held until they are approved."""
    ttl_seconds: int | None = None
    """The time that its catalog counts as fresh; None: the hub's own."""


@dataclass(frozen=True, slots=True)
class SealedServer:
    """A server with its sealed configuration; `opens_unbound`: also one without a key's id may be opened."""

    server_type: ServerType
    id: UUID
    user_id: UUID | None
    name: str
    config_encrypted: bytes | None = field(repr=False)
    key_id: str | None
    revision: int
    limit_per_minute: int | None
    user_limit_per_minute: int | None
    enabled: bool
    opens_unbound: bool
    protocol_version: str | None = None
    ttl_seconds: int | None = None
    durable: Durable | None = None
    handle_seconds: float | None = None


async def list_servers(
    database: Database,
    principal: Principal,
    *,
    ref: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[ListedServer]:
    """List a page of servers in the order of their names.

    Raises:
        InvalidRequest: a limit outside 1..1000, or a cursor that is none of ours.
    """
    limit = check_limit(limit)
    after_name, after_id = decode(cursor, (str, UUID))
    async with database.transaction(OPERATOR, bounded=True) as transaction:
        rows = await transaction.all(
            SERVERS["list_servers"],
            ListedServer,
            all_users=principal.is_operator,
            user_id=principal.user_id,
            ref=ref and ref[:LONGEST_REF],
            after_name=after_name,
            after_id=after_id,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: encode(row.name, row.id))


async def find(database: Database, principal: Principal, ref: str) -> ListedServer:
    """Find a server by its name or id; by name the operator finds system servers first, a user its own.

    Raises:
        NotFound: the principal sees no such server.
        Conflict: several users have a server of that name, and the operator did not say which one.
    """
    found = (await list_servers(database, principal, ref=ref)).items
    if not found:
        raise UnknownServer(ref)
    found.sort(key=lambda server: (server.server_type == "system") != principal.is_operator)
    if principal.is_operator and len(found) > 1 and found[0].server_type != "system":
        raise Conflict(f"Several users have a server {ref!r}; name the one you mean by its id.")
    return found[0]


class Servers:
    """Servers with their sealed configurations: the vault and the connections are needed beside the database."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        connections: Connections,
        *,
        allow_private: bool,
        ttl_seconds: float = DAY_SECONDS,
        user_limits: UserLimits = NO_BOUNDS,
    ) -> None:
        self.user_limits = user_limits
        self.logins: CallLogins | None = None
        """Set where calls are made: logins need to know of servers, too."""
        self._database = database
        self._ttl_seconds = ttl_seconds
        self._vault = vault
        self._connections = connections
        self._allow_private = allow_private

    async def register(
        self,
        name: str,
        config: HttpConfig | StdioConfig,
        *,
        owner: UUID | None = None,
        limits: Limits = NO_LIMITS,
        policy: PolicyChange = NO_POLICY,
        traits: TraitChange = NO_TRAITS,
        enabled: bool = True,
    ) -> ListedServer:
        """Try a server and store it with what it offers; a server that can't be reached is not stored.

        One that wants a login first is stored without what it offers, and with the way to log in that it names. One
        that is not `enabled` is stored and not contacted.

        Raises:
            InvalidName, InvalidConfig, InvalidRequest, ForbiddenAddress: it can't be registered like this.
            NameTaken: the owner sees a server of that name already, AlreadyRegistered if it is this very one; users'
                servers keep no name from a system server.
            QuotaUsedUp, TooLarge: the owner has too many servers, or it offers too much.
            UpstreamError: it does not answer as an MCP server.
        """
        policy.check()
        await self.check(name, config, owner=owner, limits=limits)
        ref = _new_ref(owner)
        traits.check(ref)
        target = Target(ref, name, config, revision=1, guarded=self._needs_guard(ref))
        seen = None
        if enabled:
            target, seen = await try_server(self._connections, target, allow_private=self._allow_private)
        await self._store(target, owner, limits, seen, policy, traits, enabled=enabled)
        return await find(self._database, OPERATOR, str(ref.server_ref_id))

    async def check(
        self,
        name: str,
        config: HttpConfig | StdioConfig,
        *,
        owner: UUID | None = None,
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Check a server as far as that is possible without trying it.

        Raises:
            InvalidName, InvalidConfig, ForbiddenAddress, NameTaken: see `register`.
        """
        check_server(name, config, owner, limits)
        if config.transport == "http":
            await check_url(config.url, allow_private=not self._needs_guard(_new_ref(owner)))
        await self._refuse_taken(name, config, owner, limits)

    async def _refuse_taken(
        self, name: str, config: HttpConfig | StdioConfig, owner: UUID | None, limits: Limits
    ) -> None:
        """Say so before the server is tried; the database has the last word."""
        same = await list_servers(self._database, OPERATOR if owner is None else Principal(owner), ref=name)
        taken = [
            server
            for server in same.items
            if server.name == name and (owner is not None or server.server_type == "system")
        ]
        for server in taken:
            if server.user_id == owner and await self._is_same(server, config, limits):
                raise AlreadyRegistered(name)
        if taken:
            raise NameTaken("server", name)

    async def _is_same(self, server: ListedServer, config: HttpConfig | StdioConfig, limits: Limits) -> bool:
        """Compare with what is sealed; a value that can't be opened is another one."""
        if limits not in (NO_LIMITS, Limits(server.limit_per_minute, server.user_limit_per_minute)):
            return False
        try:
            target, _ = await self.open(ServerRef(server.server_type, server.id))
        except (NotFound, NotOffered, CannotOpen, InvalidConfig):
            return False
        return target.config == config or is_found_login(target.config, config)

    async def _store(
        self,
        target: Target,
        owner: UUID | None,
        limits: Limits,
        seen: Snapshot | None,
        policy: PolicyChange = NO_POLICY,
        traits: TraitChange = NO_TRAITS,
        *,
        enabled: bool = True,
    ) -> None:
        ref = target.ref
        login, credentials = describe_login(target.config)
        sealed = self._vault.seal_config(SealContext.for_server(ref, owner), expose_secrets(target.config))
        try:
            async with self._database.transaction(bounded=True) as transaction:
                await transaction.run(
                    SERVERS[f"add_{ref.server_type}_server"],
                    id=ref.server_ref_id,
                    user_id=owner,
                    name=target.name,
                    transport=target.config.transport,
                    config_encrypted=sealed.data,
                    key_id=sealed.key_id,
                    endpoint=describe_endpoint(target.config),
                    limit_per_minute=limits.per_minute,
                    user_limit_per_minute=limits.per_user,
                    login_kind=login,
                    credentials=credentials,
                    enabled=enabled,
                )
                await store_traits(transaction, ref, traits)  # before its tools, which a pin holds from the first on
                if seen is not None:
                    ttl_seconds = traits.ttl_seconds or self._ttl_seconds
                    await catalog.store(transaction, ref, target.name, owner, seen, ttl_seconds)
                await store_policy(transaction, ref, policy)
                if owner is not None:
                    await catalog.check_user_limits(transaction, owner, self.user_limits)
        except UniqueViolation as error:
            raise NameTaken(find_taker(error, "server"), target.name) from None

    async def open(self, ref: ServerRef) -> tuple[Target, SealedServer]:
        """Open a server's credentials; the server, and its row.

        Raises:
            NotFound: it was removed.
            NotOffered: it is switched off.
            CannotOpen: its configuration can't be opened.
            UnboundValue: it is not bound to its row and its owner, though a rotation has bound all values.
        """
        async with self._database.transaction() as transaction:
            row = await transaction.one(
                SERVERS["sealed_server"], SealedServer, server_type=ref.server_type, id=ref.server_ref_id
            )
        if row is None:
            raise NotFound("server", ref)
        if not row.enabled:
            raise NotOffered.server(row.name, row.user_id)
        config = open_sealed(self._vault, row)
        if ref.server_type == "user":
            check_transport(config)
        target = Target(ref, row.name, config, row.revision, self._needs_guard(ref), row.protocol_version)
        return target, row

    def log_in(self, target: Target, user_id: UUID | None) -> Target:
        """Give a server with the login that a user's calls take, where it wants one."""
        return target if self.logins is None else self.logins.add(target, user_id)

    def need_login(self, target: Target, user_id: UUID | None, error: LoginNeeded) -> LoginNeeded:
        """Say in the words for a user what went wrong with a login on a connection that users may share."""
        return error if self.logins is None else self.logins.need(target, user_id, error.reason)

    async def inspect(self, target: Target, timeout: float | None = READ_SECONDS) -> Snapshot:
        """Read what a server offers, with the login for its catalog, where it wants one."""
        if self.logins is None:
            return await self._connections.inspect(target, timeout=timeout)
        return await self.logins.inspect(self._connections, target, timeout)

    async def test(self, ref: ServerRef) -> Snapshot:
        """Connect anew and read what a server offers, without storing it.

        Raises:
            NotFound, CannotOpen: see `open`.
            UpstreamError: it does not answer as an MCP server.
        """
        target, _ = await self.open(ref)
        await self._connections.forget(ref)
        return await self.inspect(target)

    async def remove(self, principal: Principal, ref: ServerRef) -> None:
        """Remove a server with all that is cached of it; its jobs stay.

        Raises:
            NotFound: the principal sees no such server.
            NotAllowed: a user removes a system server.
        """
        server = await find(self._database, principal, str(ref.server_ref_id))
        if server.server_type != ref.server_type:
            raise NotFound("server", ref)
        if server.server_type == "system" and not principal.is_operator:
            raise NotAllowed(f"Only an operator can remove the system server {server.name!r}.")
        note(server=server.name)  # its row is gone when the audit looks for the name
        async with self._database.transaction() as transaction:
            await transaction.run(SERVERS[f"remove_{server.server_type}_server"], id=server.id)
        await self._connections.forget(ref)

    def _needs_guard(self, ref: ServerRef) -> bool:
        return ref.server_type == "user" and not self._allow_private


def _new_ref(owner: UUID | None) -> ServerRef:
    return ServerRef("system" if owner is None else "user", uuid4())
