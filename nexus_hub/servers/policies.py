"""Policies: the operator's word on how the tools of a server are called."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import InvalidRequest
from nexus_hub.escape import escape
from nexus_hub.models import Durable, ServerRef

SERVERS = load("servers")
LONGEST_HANDLE_SECONDS = 86_400
LONGEST_TOOL_NAME = 1000
MOST_TOOLS = 1000
"""Tools of which one request may say something."""


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """The word on a tool or its server; without `handle_seconds` the hub's own count, and 0 is never."""

    durable: Durable = "long"
    handle_seconds: float | None = None


DEFAULT_POLICY = CallPolicy()


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change of what is said of a server and of single tools of it; None takes a word back.

    Of the server only those of `durable` and `handle_seconds` change that `says` names.
    """

    says: frozenset[str] = frozenset()
    durable: Durable | None = None
    handle_seconds: float | None = None
    tools: Mapping[str, Durable | None] = field(default_factory=dict)
    switched: Mapping[str, bool] = field(default_factory=dict)
    """Tools that are switched on or off; on is what they are when nothing is said."""

    def check(self) -> None:
        """Hold it against its limits.

        Raises:
            InvalidRequest: seconds or a tool's name outside their range, or too many tools.
        """
        if self.handle_seconds is not None and not 0 <= self.handle_seconds <= LONGEST_HANDLE_SECONDS:
            raise InvalidRequest(f"handle_seconds must lie within 0 (never) and {LONGEST_HANDLE_SECONDS}.")
        tools = self.tools.keys() | self.switched.keys()
        if len(tools) > MOST_TOOLS:
            raise InvalidRequest(f"One request may speak of {MOST_TOOLS} tools; this one speaks of {len(tools)}.")
        if not all(0 < len(tool) <= LONGEST_TOOL_NAME for tool in tools):
            raise InvalidRequest(f"The name of a tool has 1 to {LONGEST_TOOL_NAME} characters.")


async def change_policy(database: Database, ref: ServerRef, change: PolicyChange) -> None:
    """Change how a server's tools are called; calls that come from now on keep to it.

    Raises:
        InvalidRequest: see `PolicyChange.check`.
    """
    change.check()
    async with database.transaction(bounded=True) as transaction:
        await store_policy(transaction, ref, change)


async def store_policy(transaction: Transaction, ref: ServerRef, change: PolicyChange) -> None:
    """Store what is said of a server that is there; what nothing is said of takes no room."""
    if change.says:
        await _set(transaction, ref, "", change.says, change.durable, change.handle_seconds)
    for tool, durable in sorted(change.tools.items()):
        await _set(transaction, ref, escape(tool), frozenset({"durable"}), durable, None)
    for tool, is_on in sorted(change.switched.items()):
        await _set(transaction, ref, escape(tool), frozenset({"enabled"}), enabled=None if is_on else False)


async def _set(
    transaction: Transaction,
    ref: ServerRef,
    tool_name: Any,
    says: frozenset[str],
    durable: Durable | None = None,
    handle_seconds: float | None = None,
    *,
    enabled: bool | None = None,
) -> None:
    server = {"server_type": ref.server_type, "server_ref_id": ref.server_ref_id}
    await transaction.run(
        SERVERS["set_policy"],
        **server,
        tool_name=tool_name,
        durable=durable,
        handle_seconds=handle_seconds,
        enabled=enabled,
        says_enabled="enabled" in says,
        says_durable="durable" in says,
        says_handle="handle_seconds" in says,
    )
    await transaction.run(SERVERS["drop_empty_policies"], **server)
