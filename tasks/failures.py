"""Failures as a task may raise them: a code, and nothing else, since Prefect stores, logs and pickles exceptions."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from nexus_hub.errors import HubError, InternalError
from nexus_hub.execution.attempt import Attempt
from nexus_hub.telemetry.bus import report_defect

P = ParamSpec("P")
R = TypeVar("R")


class TaskFailed(Exception):
    """A task's failure by its code, and a fixed sentence about it that holds nothing of the call."""

    def __init__(self, code: str, summary: str) -> None:
        self.code = code
        self.summary = summary
        self.retry_after: float | None = None
        super().__init__(code, summary)

    def __str__(self) -> str:
        return f"{self.code}: {self.summary}"


def codes_only(work: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let nothing but TaskFailed out of a task, and no trace of what was behind it."""

    @wraps(work)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await work(*args, **kwargs)
        except Exception as error:  # no message of any kind may pass
            if not isinstance(error, HubError):
                report_defect(error)
            failure = to_task_failure(error)
        raise failure  # outside of the handler, so that it has no context

    return guarded


def keep_failure(
    work: Callable[Concatenate[Attempt, P], Awaitable[R]],
) -> Callable[Concatenate[Attempt, P], Awaitable[R]]:
    """Keep a step's error on the attempt: the job's row gets its message, which Prefect never sees."""

    @wraps(work)
    async def guarded(attempt: Attempt, /, *args: P.args, **kwargs: P.kwargs) -> R:
        attempt.failure = None
        try:
            return await work(attempt, *args, **kwargs)
        except Exception as error:
            attempt.failure = error if isinstance(error, HubError) else InternalError()
            raise

    return guarded


def to_task_failure(error: Exception) -> TaskFailed:
    """Say of an error its code, and its message if that is public, else the first sentence of its class."""
    if isinstance(error, TaskFailed):
        return error
    if not isinstance(error, HubError):
        return TaskFailed(InternalError.code, f"a {type(error).__name__} that should not happen")
    if error.public:
        return TaskFailed(error.code, error.message.rstrip("."))
    summary = (type(error).__doc__ or "").partition("\n")[0].partition(";")[0]
    failure = TaskFailed(error.code, summary.rstrip("."))
    failure.retry_after = getattr(error, "retry_after", None)
    return failure
