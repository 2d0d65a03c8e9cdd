"""Values that several rooms share: the caller, a server's reference, the kinds and states of jobs."""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

ServerType = Literal["system", "user"]
JobType = Literal["tool_invoke", "resource_fetch", "prompt_execute"]
JobStatus = Literal["pending", "running", "completed", "failed", "cancelled"]
Durable = Literal["always", "long", "never"]
"""The calls that are jobs in Prefect: each from its start, those that take long (from then on), or none."""
TERMINAL: frozenset[JobStatus] = frozenset({"completed", "failed", "cancelled"})
DAYS_COMPLETED, DAYS_ORPHANED = 7, 1
"""Days for which a clean-up keeps jobs that ended and jobs that were orphaned, where nobody says otherwise."""
MOST_DAYS = 3650
MOST_AHEAD = 1000
"""A waiting job's place is counted up to here; the one after it stands for all further ones."""
Scope = Literal["tools:list", "tools:call", "jobs", "admin"]
"""The parts of what a principal may do that a token can be good for."""
Level = Literal["list", "approve", "call"]
"""The most that a user may do with a tool: see it, call it after a person's yes, or call it."""
LONGEST_TIMEOUT_SECONDS = 7 * 24 * 3600
"""The most that NEXUS_MAX_TIMEOUT_SECONDS may allow a job."""


@dataclass(frozen=True, slots=True)
class ServerRef:
    """A polymorphic reference to an upstream server."""

    server_type: ServerType
    server_ref_id: UUID

    def __str__(self) -> str:
        return f"{self.server_type}/{self.server_ref_id}"


@dataclass(frozen=True, slots=True)
class BundleCall:
    """A call by a name of a bundle: the entry that stands for it, and the name, `<bundle>__<name>`.

    Of a resource, which is called by its URI, the bundle's name alone.
    """

    entry_id: UUID
    called_as: str

    @classmethod
    def of(cls, entry_id: UUID | None, called_as: str | None) -> "BundleCall | None":
        """Make it of the columns of a job; None if it was asked for by a server's name."""
        return None if entry_id is None or called_as is None else cls(entry_id, called_as)

    @property
    def bundle(self) -> str:
        """The bundle's name."""
        return self.called_as.partition("__")[0]

    @property
    def name(self) -> str:
        """The name within the bundle, or what a long one was shortened to; of a resource the bundle's."""
        return self.called_as.partition("__")[2] or self.called_as


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: the operator (`user_id` None) or one user, with the scopes of the token that was sent.

    `scopes` None: all that the caller may do. `groups` are those that an outside issuer names. Principals of one user
    are equal, whatever the token: turns, sessions and caches are the user's.
    """

    user_id: UUID | None = None
    scopes: frozenset[Scope] | None = field(default=None, compare=False)
    groups: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def is_operator(self) -> bool:
        """True for the holder of the service key."""
        return self.user_id is None


OPERATOR = Principal()
