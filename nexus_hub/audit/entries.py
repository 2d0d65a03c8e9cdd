"""Entries of the audit, and what they may hold: names, ids, codes and a digest; no argument, no result, no token."""

import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self
from uuid import UUID, uuid4

from nexus_hub.json_text import write
from nexus_hub.models import Principal
from nexus_hub.telemetry.text import printable
from nexus_hub.telemetry.trail import Trail

Outcome = Literal["ok", "refused", "failed", "cancelled"]
REFUSED_CODES = frozenset({"not-authenticated", "not-allowed", "not-found", "rate-limited", "too-many"})
"""Codes of what the hub itself would not do for this caller."""
NOBODY = "nobody"
LONGEST_CLIENT = 120
LONGEST_TARGET = 200
DIGEST_LENGTH = 32


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The caller of a request, and where it came from."""

    principal: Principal | None
    client: str | None = None
    address: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that was done, or was refused; `arguments` go into a digest and nowhere else."""

    action: str
    source: AuditSource
    outcome: Outcome = "ok"
    code: str | None = None
    target: str | None = None
    server: str | None = None
    server_ref_id: UUID | None = None
    tool: str | None = None
    job_id: UUID | None = None
    arguments: object = field(default=None, repr=False)
    digest: str | None = None
    called_as: str | None = None
    times: int = 1
    id: UUID = field(default_factory=uuid4)
    noted_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, action: str, source: AuditSource, trail: Trail, outcome: Outcome, code: str | None = None) -> Self:
        """Make an entry of what a request has left behind."""
        return cls(
            action,
            source if trail.trace_id is None else replace(source, trace_id=trail.trace_id),
            outcome,
            code,
            trail.target,
            trail.server,
            trail.server_ref_id,
            trail.tool,
            trail.job_id,
            trail.arguments,
            called_as=trail.called_as,
        )

    @property
    def claim_id(self) -> UUID:
        """The id under which a group's write knows it."""
        return self.id

    def with_digest(self, key: bytes) -> Self:
        """Give the entry with the digest of its arguments in place of them."""
        if self.arguments is None:
            return self
        return replace(self, arguments=None, digest=make_digest(key, self.arguments))

    def as_row(self) -> dict[str, Any]:
        """Give the entry as the database takes it; names are cut, and safe to show."""
        principal = self.source.principal
        actor_id = principal.user_id if principal else None
        ids = {"id": self.id, "actor_id": actor_id, "server_ref_id": self.server_ref_id, "job_id": self.job_id}
        return {name: None if value is None else str(value) for name, value in ids.items()} | {
            "age": max(time.monotonic() - self.noted_at, 0),
            "actor": NOBODY if principal is None else "operator" if actor_id is None else str(actor_id),
            "client": _cut(self.source.client, LONGEST_CLIENT),
            "address": _cut(self.source.address, LONGEST_CLIENT),
            "action": self.action,
            "target": _cut(self.target, LONGEST_TARGET),
            "server": _cut(self.server, LONGEST_TARGET),
            "tool": _cut(self.tool, LONGEST_TARGET),
            "outcome": self.outcome,
            "code": self.code,
            "digest": self.digest,
            "called_as": self.called_as,
            "trace_id": self.source.trace_id,
            "times": self.times,
        }


def make_digest(key: bytes, arguments: object) -> str | None:
    """Make the digest of arguments: of their JSON without spaces, in ASCII, with the members of objects in order.

    None if they are no JSON that the hub would take.
    """
    with suppress(ValueError, TypeError, RecursionError):
        return hmac.digest(key, write(arguments, sort_keys=True), "sha256").hex()[:DIGEST_LENGTH]
    return None


def digest_key(service_key: str) -> bytes:
    """Derive the key of the digests from the operator's key: without it, nobody finds small arguments by trying."""
    return hmac.digest(service_key.encode(), b"nexus-hub audit digest", "sha256")


def outcome_of(code: str | None) -> Outcome:
    """Tell how something ended by its code."""
    if code is None:
        return "ok"
    return "cancelled" if code == "cancelled" else "refused" if code in REFUSED_CODES else "failed"


def client_of(info: object) -> str | None:
    """Name a client by what it says of itself: its name and version."""
    if not isinstance(info, Mapping) or not isinstance(info.get("name"), str):
        return None
    version = info.get("version")
    return f"{info['name']}/{version}" if isinstance(version, str) else str(info["name"])


def _cut(text: str | None, longest: int) -> str | None:
    return None if text is None else printable(text, longest=longest)
