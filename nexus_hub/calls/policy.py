"""Course of a call: the lane that makes it, and the time after which its caller gets a handle instead of a result."""

from dataclasses import dataclass
from typing import Literal

from nexus_hub.servers.policies import CallPolicy


@dataclass(frozen=True, slots=True)
class Course:
    """The lane of a call, and the seconds until its caller gets a handle (None: never)."""

    lane: Literal["direct", "durable"]
    handle_seconds: float | None


def choose_course(policy: CallPolicy, *, caller_seconds: float | None, hub_seconds: float) -> Course:
    """Choose the course of a call; the caller knows best how long it waits, then the operator of its server."""
    known = (caller_seconds, policy.handle_seconds, hub_seconds)
    seconds = next((one for one in known if one is not None), 0.0)
    is_handed = seconds > 0 and policy.durable != "never"
    return Course("durable" if policy.durable == "always" else "direct", seconds if is_handed else None)
