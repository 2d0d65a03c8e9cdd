"""Retries within one call, for every lane that repeats a step of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

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

    def is_passing(self, error: BaseException) -> bool:
        """Tell the errors that are worth a retry; where the server named a time, the call waits for it elsewhere."""
        return isinstance(error, self.errors) and getattr(error, "retry_after", None) is None

    def wrap(self, step: Callable[[C], Awaitable[R]]) -> Callable[[C], Awaitable[R]]:
        """Give the step as one that is taken again, after each of the pauses, while it fails like this."""

        async def take(call: C) -> R:
            return await step(call)

        return retry(
            stop=stop_after_attempt(len(self.pauses) + 1),
            wait=wait_chain(*map(wait_fixed, self.pauses or (0,))),
            retry=retry_if_exception(self.is_passing),
            reraise=True,
        )(take)


DATABASE = RetryPolicy(DATABASE_PAUSES, (DatabaseUnavailable,))
UPSTREAM = RetryPolicy(UPSTREAM_PAUSES, (UpstreamUnavailable,))
