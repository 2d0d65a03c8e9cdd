"""Requests of callers, before they are jobs."""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from nexus_hub.errors import InvalidRequest, TooLarge
from nexus_hub.escape import escape
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS, JobType

DEFAULT_TIMEOUT_SECONDS = 3600
DEFAULT_ATTEMPTS = 3
MOST_ATTEMPTS = 20
MOST_ARGUMENT_BYTES = 1024 * 1024
DEEPEST_ARGUMENTS = 100


@dataclass(frozen=True, slots=True)
class JobBounds:
    """Bounds that an operator sets: the longest time-out of a job, and the open jobs of a user (None: any number)."""

    timeout_seconds: int = LONGEST_TIMEOUT_SECONDS
    open_jobs: int | None = None

    @property
    def default_timeout_seconds(self) -> int:
        """The time-out of a job that asks for none."""
        return min(DEFAULT_TIMEOUT_SECONDS, self.timeout_seconds)


NO_BOUNDS = JobBounds()


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A tool by its namespaced name, a prompt by its namespaced name, or a resource by server and URI."""

    job_type: JobType
    name: str
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    uri: str | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    max_attempts: int = DEFAULT_ATTEMPTS
    retry: str = "auto"

    def digest(self) -> str:
        """SHA-256 of what is asked for: the same idempotency key must come with the same digest."""
        parts = [self.job_type, self.name, self.uri, self.arguments, self.timeout_seconds, self.max_attempts]
        return hashlib.sha256(json.dumps([*parts, self.retry], sort_keys=True).encode()).hexdigest()

    def check(self, longest: int = LONGEST_TIMEOUT_SECONDS) -> None:
        """Hold the request against its limits; `longest` is that of its time-out in seconds.

        Raises:
            InvalidRequest: a limit outside its range, a resource without a URI, or arguments that are nested more
                than 100 levels deep or hold a number that JSON does not know.
            TooLarge: arguments of more than 1 MiB.
        """
        _within("timeout_seconds", self.timeout_seconds, 1, longest)
        _within("max_attempts", self.max_attempts, 1, MOST_ATTEMPTS)
        if self.retry not in {"auto", "always"}:
            raise InvalidRequest("retry must be 'auto' or 'always'.")
        if self.job_type == "resource_fetch" and not self.uri:
            raise InvalidRequest("A resource is named by {server, uri}; the uri is missing.")
        if self.idempotency_key is not None:
            _within("the length of idempotency_key", len(self.idempotency_key), 1, 200)
            if escape(self.idempotency_key) != self.idempotency_key:
                raise InvalidRequest("The idempotency_key holds a character that can't be stored, such as U+0000.")
        if (size := _size(self.arguments)) > MOST_ARGUMENT_BYTES:
            raise TooLarge("Arguments", size, MOST_ARGUMENT_BYTES)


def _size(arguments: dict[str, Any]) -> int:
    level: list[Any] = [arguments]
    for _ in range(DEEPEST_ARGUMENTS - 1):
        values = chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [value for value in values if isinstance(value, dict | list)]
    if any(level):
        raise InvalidRequest(f"The arguments are nested more than {DEEPEST_ARGUMENTS} levels deep.")
    try:
        return len(json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InvalidRequest("The arguments hold half a surrogate pair, which is no text.") from None
    except ValueError:
        raise InvalidRequest("The arguments hold a number that JSON does not know, such as NaN.") from None


def _within(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise InvalidRequest(f"{what} is {value}; it must lie within {lowest} and {highest}.")
