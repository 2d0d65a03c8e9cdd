"""Applying the hub's configuration: all of it in one transaction, or nothing."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.errors import DeadlockDetected, UniqueViolation

from nexus_hub.access.groups import GROUPS
from nexus_hub.catalog.bundles import add_bundle, change_bundle, find_taker, remove_bundle
from nexus_hub.catalog.changes import hold_server
from nexus_hub.configuration.differences import CONNECTION, ObjectChange, compare, forget_found_login
from nexus_hub.configuration.plan import Plan, find_faults, make_plan, merge, write_applied
from nexus_hub.configuration.present import CONFIGURATION, Present, read_present
from nexus_hub.configuration.schema import BundlePart, Configuration, GroupPart, ServerPart, SettingsPart
from nexus_hub.db.pool import Database, Transaction, json_parameter
from nexus_hub.errors import Conflict, InternalError, InvalidConfiguration, NameTaken
from nexus_hub.escape import escape
from nexus_hub.models import ServerRef
from nexus_hub.servers.login_offers import describe_login
from nexus_hub.servers.registry import SERVERS
from nexus_hub.upstream.config import HttpConfig, StdioConfig, expose_secrets
from nexus_hub.upstream.display import describe_endpoint
from nexus_hub.vault.sealing import SealContext, Vault


@dataclass(frozen=True)
class AppliedPlan:
    """A plan that was carried out, and the servers that are on and reached in another way than before."""

    plan: Plan
    to_read: list[tuple[ServerRef, str]]


class Configurations:
    """The hub's configuration as a whole: read, compared with what is wanted, and made so."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def read(self) -> Present:
        """Read what the hub has, with its secrets in the clear."""
        async with self._database.transaction() as transaction:
            return await read_present(transaction, self._vault)

    async def plan(self, wanted: Configuration, *, prune: bool = False) -> Plan:
        """Say what would change.

        Raises:
            InvalidConfiguration: it speaks of what is not there, or takes names that are taken.
        """
        async with self._database.transaction() as transaction:
            present = await self._read_for(transaction, wanted, prune)
            return make_plan(present, wanted, prune=prune)

    async def apply(self, wanted: Configuration, *, prune: bool = False) -> AppliedPlan:
        """Make the hub's configuration what is wanted, one at a time in all processes; no server is contacted.

        Raises:
            InvalidConfiguration: see `plan`; nothing has changed.
            NameTaken, Conflict: somebody took a name, or changes something, meanwhile; nothing has changed.
        """
        try:
            async with self._database.transaction() as transaction:
                await transaction.run(CONFIGURATION["lock_configuration"])
                await transaction.run(CONFIGURATION["lock_what_is_changed"])
                return await self._apply(transaction, wanted, prune)
        except DeadlockDetected:
            raise Conflict("Somebody changes the same at this moment; nothing has changed, apply it again.") from None
        except UniqueViolation as error:
            raise NameTaken(find_taker(error, "server, bundle or group"), "of the configuration") from None

    async def _read_for(self, transaction: Transaction, wanted: Configuration, prune: bool) -> Present:
        present = await read_present(transaction, self._vault)
        if faults := await find_faults(transaction, present.configuration, wanted, prune=prune):
            raise InvalidConfiguration(faults)
        return present

    async def _apply(self, transaction: Transaction, wanted: Configuration, prune: bool) -> AppliedPlan:
        present = await self._read_for(transaction, wanted, prune)
        plan = make_plan(present, wanted, prune=prune)
        after = merge(present.configuration, wanted, prune=prune)
        writer = _Writer(transaction, self._vault, present, after)
        await writer.write(plan.changes)
        stored = await read_present(transaction, self._vault)
        if left := compare(stored.configuration, after):
            places = ", ".join(f"{change.section} {change.name}" for change in left[:5])
            raise InternalError from ValueError(f"stored otherwise than it was said: {places}")
        document = json_parameter(escape(write_applied(stored, wanted)))
        await transaction.run(CONFIGURATION["note_applied"], document=document)
        to_read = [name for name in writer.to_read if (after.servers or {})[name].enabled]
        return AppliedPlan(plan, [(ServerRef("system", stored.ids[name]), name) for name in to_read])


class _Writer:
    """Writes the changes of a plan."""

    def __init__(self, transaction: Transaction, vault: Vault, present: Present, after: Configuration) -> None:
        self.to_read: list[str] = []
        self._transaction = transaction
        self._vault = vault
        self._present = present
        self._servers = after.servers or {}
        self._bundles = after.bundles or {}
        self._groups = after.groups or {}
        self._settings = after.settings or SettingsPart()

    async def write(self, changes: list[ObjectChange]) -> None:
        """Remove what goes, the last things first; then write the rest so that whatever is named is there before."""
        for change in reversed(changes):
            if change.change == "removed":
                await self._remove(change)
        kept = [change for change in changes if change.change != "removed"]
        for change in kept:
            match change.section:
                case "settings":
                    await self._transaction.run(GROUPS["set_default_access"], access=self._settings.access)
                case "servers":
                    await self._put_server(change, self._servers[change.name])
                case "bundles":
                    await self._put_bundle(change, self._bundles[change.name])
        groups = [change.name for change in kept if change.section == "groups"]
        ids = {name: await self._put_group(name, self._groups[name]) for name in groups}
        for name, group_id in ids.items():
            grants = [escape(grant.model_dump()) for grant in self._groups[name].grants]
            await self._transaction.run(CONFIGURATION["put_grants"], group_id=group_id, grants=json_parameter(grants))

    async def _remove(self, change: ObjectChange) -> None:
        match change.section:
            case "servers":
                server_id = self._present.ids[change.name]
                await self._transaction.run(SERVERS["remove_system_server"], id=server_id)
            case "bundles":
                await remove_bundle(self._transaction, change.name)
            case "groups":
                await self._transaction.run(CONFIGURATION["drop_group"], name=change.name)

    async def _put_server(self, change: ObjectChange, server: ServerPart) -> None:
        server_id = self._present.ids.get(change.name)
        if server_id is None:
            server_id = await self._add_server(change.name, server)
        elif any(member.path[0] in CONNECTION for member in change.members):
            await self._replace_connection(server_id, change.name, server)
        elif any(member.path == ("enabled",) for member in change.members):
            self.to_read.append(change.name)
        await self._transaction.run(
            CONFIGURATION["set_server_words"],
            id=server_id,
            enabled=server.enabled,
            access=server.access,
            tags=server.tags,
            pin=server.pin,
            ttl_seconds=server.ttl,
            limit_per_minute=server.limit_per_minute,
            user_limit_per_minute=server.user_limit_per_minute,
        )
        await hold_server(self._transaction, ServerRef("system", server_id))
        policies = json_parameter(_list_policies(server))
        await self._transaction.run(CONFIGURATION["put_policies"], id=server_id, policies=policies)

    async def _add_server(self, name: str, server: ServerPart) -> UUID:
        server_id = uuid4()
        await self._transaction.run(
            SERVERS["add_system_server"],
            name=name,
            enabled=server.enabled,
            limit_per_minute=server.limit_per_minute,
            user_limit_per_minute=server.user_limit_per_minute,
            **self._seal(server_id, server.to_config()),
        )
        self.to_read.append(name)
        return server_id

    async def _replace_connection(self, server_id: UUID, name: str, server: ServerPart) -> None:
        stored = (self._present.configuration.servers or {})[name]
        is_same_place = stored.url == server.url
        if is_same_place and forget_found_login(stored, server) is not stored:
            server = server.model_copy(update={"login": stored.login})
        await self._transaction.run(CONFIGURATION["replace_connection"], **self._seal(server_id, server.to_config()))
        if not is_same_place or (stored.login, stored.credentials) != (server.login, server.credentials):
            await self._transaction.run(CONFIGURATION["end_logins"], id=server_id)
        await self._transaction.run(CONFIGURATION["expect_refresh"], id=server_id)
        self.to_read.append(name)

    def _seal(self, server_id: UUID, config: HttpConfig | StdioConfig) -> dict[str, Any]:
        context = SealContext.for_server(ServerRef("system", server_id), None)
        sealed = self._vault.seal_config(context, expose_secrets(config))
        login, credentials = describe_login(config)
        return {
            "id": server_id,
            "transport": config.transport,
            "config_encrypted": sealed.data,
            "key_id": sealed.key_id,
            "endpoint": describe_endpoint(config),
            "login_kind": login,
            "credentials": credentials,
        }

    async def _put_bundle(self, change: ObjectChange, bundle: BundlePart) -> None:
        words, entries = bundle.split(change.name)
        if change.change == "added":
            await add_bundle(self._transaction, words, entries)
        else:
            await change_bundle(self._transaction, change.name, words, entries)

    async def _put_group(self, name: str, group: GroupPart) -> UUID:
        group_id = await self._transaction.only(CONFIGURATION["put_group"], UUID, name=name, claims=group.claims)
        for statement in ("drop_members", "put_members"):
            await self._transaction.run(CONFIGURATION[statement], group_id=group_id, members=group.members)
        return group_id


def _list_policies(server: ServerPart) -> list[dict[str, Any]]:
    """List what is said of calls, of the server and of single tools; what nothing is said of takes no room."""
    said = [{"tool_name": "", "durable": server.durable, "handle_seconds": server.handle_seconds, "enabled": None}]
    for name, tool in server.tools.items():
        enabled = None if tool.enabled else False
        said.append({"tool_name": escape(name), "durable": tool.durable, "handle_seconds": None, "enabled": enabled})
    return [one for one in said if {one["durable"], one["handle_seconds"], one["enabled"]} != {None}]
