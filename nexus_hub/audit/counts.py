"""Entries of a minute, counted, so that a flood of refusals or a page that polls does not flood the audit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nexus_hub.audit.entries import AuditEntry, AuditSource

MINUTE_SECONDS = 60.0
MOST_KINDS = 1000
"""Kinds of refusals that are counted one by one; all others of a minute are one more."""
READS = frozenset({"tool.list", "prompt.list", "resource.list", "audit.read"})
"""Actions that change nothing and reach no server."""
_OTHERS = "other addresses"
_Kind = tuple[object, ...]


@dataclass(slots=True)
class _Count:
    latest: AuditEntry
    times: int = 0


class Counts:
    """Counts entries of a kind: the first goes through, the others are one at the end.

    Refusals are counted by caller, address, action and code, which strangers could make up without end: beyond
    `MOST_KINDS` they are of one kind. Reads, which only who is known makes, are counted by what they read as well.
    """

    def __init__(self) -> None:
        self._counts: dict[_Kind, _Count] = {}

    def refuse(self, entry: AuditEntry) -> AuditEntry | None:
        """Count a refusal, and give it if it is the first of its kind."""
        source = entry.source
        kind: _Kind = (source.principal, source.address, entry.action, entry.code)
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            entry, kind = replace(entry, source=AuditSource(None, address=_OTHERS), target=None), (_OTHERS,)
        return self._add(kind, entry)

    def read(self, entry: AuditEntry) -> AuditEntry | None:
        """Count a read, likewise."""
        seen = entry.target, entry.server, entry.outcome, entry.code
        return self._add((entry.source.principal, entry.action, *seen), entry)

    def drain(self) -> Iterator[AuditEntry]:
        """Give the counts, and begin anew."""
        counts, self._counts = self._counts, {}
        for count in counts.values():
            if count.times:
                yield replace(count.latest, times=count.times)

    def _add(self, kind: _Kind, entry: AuditEntry) -> AuditEntry | None:
        count = self._counts.get(kind)
        if count is None:
            self._counts[kind] = _Count(entry)
            return entry
        count.latest, count.times = entry, count.times + 1
        return None
