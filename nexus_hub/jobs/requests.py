"""Requests of callers, before they are jobs."""

import hashlib
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from nexus_hub.errors import InvalidArguments, InvalidRequest, TooLarge
from nexus_hub.escape import escape
from nexus_hub.json_text import write
from nexus_hub.models import LONGEST_TIMEOUT_SECONDS, BundleCall, JobType

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
    client_capabilities: dict[str, Any] | None = None
    """The kinds of questions that the caller can be asked while it runs; no part of what is asked for."""
    by_bundle: BundleCall | None = None
    """The entry that stands for it, of a name of a bundle; likewise."""

    @property
    def audited(self) -> dict[str, Any]:
        """The arguments of which the audit keeps a digest; those of a resource are its URI."""
        return self.arguments if self.uri is None else {"uri": self.uri}

    def digest(self) -> str:
        """SHA-256 of what is asked for: the same idempotency key must come with the same digest."""
        parts = [self.job_type, self.name, self.uri, self.arguments, self.timeout_seconds, self.max_attempts]
        return hashlib.sha256(write([*parts, self.retry], sort_keys=True, separators=(", ", ": "))).hexdigest()

    def check(self, longest: int = LONGEST_TIMEOUT_SECONDS) -> None:
        """Hold the request against its limits; `longest` is that of its time-out in seconds.

        Raises:
            InvalidRequest: a limit outside its range, a resource without a URI, or arguments that hold a number that
                JSON does not know.
            InvalidArguments: arguments that are nested more than 100 levels deep.
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
        if _is_too_deep(self.arguments):
            raise InvalidArguments(self.name, [f"they may be nested {DEEPEST_ARGUMENTS} levels deep at most"])
        if (size := _size(self.arguments)) > MOST_ARGUMENT_BYTES:
            raise TooLarge("Arguments", size, MOST_ARGUMENT_BYTES)


def _is_too_deep(arguments: dict[str, Any]) -> bool:
    level: list[Any] = [arguments]
    for _ in range(DEEPEST_ARGUMENTS - 1):
        values = chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [value for value in values if isinstance(value, (dict, list))]
        if not level:
            return False
    return any(level)


def _size(arguments: dict[str, Any]) -> int:
    try:
        return len(write(arguments, ensure_ascii=False))
    except UnicodeEncodeError:
        raise InvalidRequest("The arguments hold half a surrogate pair, which is no text.") from None
    except ValueError:
        raise InvalidRequest("The arguments hold a number that JSON does not know, such as NaN.") from None


def _within(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise InvalidRequest(f"{what} is {value}; it must lie within {lowest} and {highest}.")
