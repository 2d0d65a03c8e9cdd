"""Steps of long work: run one after the other here, or each as a task of a flow run; and the word on how far it is."""

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OnProgress = Callable[[dict[str, Any]], Awaitable[None]]
"""Is awaited after each batch with the counts so far; what it raises stops the work, and what is done stays done."""


class StepRunner(Protocol):
    """Runs the steps of a piece of work, each under its name."""

    async def __call__(self, name: str, work: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one step and give its result."""


async def run_step(_name: str, work: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step as it is; Prefect's part, a task for each, is `tasks.steps.run_step_as_task`."""
    return await work(*args, **kwargs)
