"""Retries within one call, for every lane that repeats a step of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from nexus_hub.errors import DatabaseUnavailable, HubError, UpstreamUnavailable

C = TypeVar("C")
R = TypeVar("R")

DATABASE_PAUSES = (0.5, 2)
"""Seconds before a step that found the database away is taken again."""
UPSTREAM_PAUSES = (0.5, 1.5)
"""Seconds before a call that did not reach its server is sent again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Errors that pass by themselves, and the pauses in seconds before each of the further tries."""

    pauses: tuple[float, ...] = ()
    errors: tuple[type[HubError], ...] = ()

    def is_passing(self, error: Exception) -> bool:
        """Tell the errors that are worth a retry; where the server named a time, the call waits for it elsewhere."""
        return isinstance(error, self.errors) and getattr(error, "retry_after", None) is None

    def wrap(self, step: Callable[[C], Awaitable[R]]) -> Callable[[C], Awaitable[R]]:
        """Give the step as one that is taken again, after each of the pauses, while it fails like this."""

        # A loop of its own: tenacity costs 30 microseconds per step also where nothing fails, 5 % of a batch in all.
        async def retried(call: C) -> R:
            for pause in self.pauses:
                try:
                    return await step(call)
                except Exception as error:
                    if not self.is_passing(error):
                        raise
                await asyncio.sleep(pause)
            return await step(call)

        return retried


DATABASE = RetryPolicy(DATABASE_PAUSES, (DatabaseUnavailable,))
UPSTREAM = RetryPolicy(UPSTREAM_PAUSES, (UpstreamUnavailable,))
