"""Options of every task of the hub: nothing but codes gets out, nothing is stored or cached, retries have a name."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from nexus_hub.calls import retries
from nexus_hub.errors import DatabaseUnavailable
from tasks.failures import TaskFailed, codes_only

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TaskRetry(retries.RetryPolicy):
    """A retry policy of the library, as Prefect asks for it."""

    def applies(self, _task: "Task[..., Any]", _run: TaskRun, state: "State[Any]") -> bool:
        """Retry these errors alone, unless the server named a time: then the job waits for it in its row."""
        failure = state.data
        codes = {error.code for error in self.errors}
        return isinstance(failure, TaskFailed) and failure.code in codes and failure.retry_after is None


NEVER = TaskRetry()
"""For tasks that wait by themselves, and those that the flow's own retries resume where they stopped."""
DATABASE = TaskRetry(retries.DATABASE.pauses, retries.DATABASE.errors)
DATABASE_LONG = TaskRetry((0.5, 2, 5), (DatabaseUnavailable,))
"""For the writes that a job can't go on without."""
DATABASE_LONGEST = TaskRetry((0.5, 1, 2, 4, 8), (DatabaseUnavailable,))
"""For the last write of a run, which would leave its row open."""
UPSTREAM = TaskRetry(retries.UPSTREAM.pauses, retries.UPSTREAM.errors)


def hub_task(
    name: str, *, retry: TaskRetry = NEVER, run_name: str | None = None
) -> "Callable[[Callable[P, Awaitable[R]]], Task[P, Coroutine[Any, Any, R]]]":
    """Make a function a Prefect task that raises codes alone, and whose result Prefect neither stores nor caches."""

    def applies(task: "Task[..., Any]", run: TaskRun, state: "State[Any]") -> bool:  # Prefect asks no bound method
        return retry.applies(task, run, state)

    def decorate(work: Callable[P, Awaitable[R]]) -> "Task[P, Coroutine[Any, Any, R]]":
        options = task(
            name=name,
            task_run_name=run_name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(retry.pauses),
            retry_delay_seconds=list(retry.pauses),
            retry_condition_fn=applies,
        )
        return options(codes_only(work))

    return decorate
