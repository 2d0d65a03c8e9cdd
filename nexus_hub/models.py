"""Values that several rooms share: the caller, a server's reference, the kinds and states of jobs."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

ServerType = Literal["system", "user"]
JobType = Literal["tool_invoke", "resource_fetch", "prompt_execute"]
JobStatus = Literal["pending", "running", "completed", "failed", "cancelled"]
TERMINAL: frozenset[JobStatus] = frozenset({"completed", "failed", "cancelled"})
DAYS_COMPLETED, DAYS_ORPHANED = 7, 1
"""Days for which a clean-up keeps jobs that ended and jobs that were orphaned, where nobody says otherwise."""
MOST_DAYS = 3650
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
class Principal:
    """The caller: the operator (`user_id` None) or one user."""

    user_id: UUID | None = None

    @property
    def is_operator(self) -> bool:
        """True for the holder of the service key."""
        return self.user_id is None


OPERATOR = Principal()
