"""Labels that name servers: bounded, by the names that they have now, and gone with their servers."""

from collections.abc import Mapping
from uuid import UUID

from nexus_hub.telemetry.tally import OTHER
from nexus_hub.telemetry.text import printable

MOST_SERVERS = 200
"""So many servers have series of their own in a process; the events of all others are counted together."""


class ServerLabels:
    """Gives each server a slot at its first event, which it keeps until it is removed.

    The slot is what tallies know; its name is put there when they are written out, so that a server that is renamed
    keeps its counts.
    """

    def __init__(self, most: int = MOST_SERVERS) -> None:
        self._most = most
        self._slots: dict[UUID, str] = {}
        self._names: dict[str, str] = {}
        self._listed: set[UUID] = set()

    def slot_of(self, server_id: UUID | None, name: str | None) -> str:
        """Give the slot of an event's server."""
        slot = self._slots.get(server_id) if server_id is not None else OTHER
        if slot is None and server_id is not None:
            slot = self._take_slot(server_id)
        if name is not None and slot is not None and slot not in self._names and slot != OTHER:
            self._names[slot] = printable(name)
        return slot or OTHER

    def name_of(self, slot: str) -> str:
        """Give the label of a slot."""
        return self._names.get(slot, OTHER)

    def known(self) -> list[UUID]:
        """List the servers that have slots."""
        return list(self._slots)

    def update(self, names: Mapping[UUID, str]) -> frozenset[str]:
        """Take over the names of those servers that are there; the slots of those that are there no more.

        One that never was there, such as one that is newer than the list, keeps its slot.
        """
        gone = {server_id for server_id in self._slots if server_id in self._listed and server_id not in names}
        slots = frozenset(self._slots.pop(server_id) for server_id in gone)
        for slot in slots:
            self._names.pop(slot, None)
        self._names.update({self._slots[one]: printable(name) for one, name in names.items() if one in self._slots})
        self._listed = set(names)
        return slots

    def _take_slot(self, server_id: UUID) -> str:
        if len(self._slots) >= self._most:
            return OTHER
        slot = self._slots[server_id] = str(server_id)
        return slot
