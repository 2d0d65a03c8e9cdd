"""Steps of the library's long work, each a task of the flow run: what a flow runs is what the library's tests run."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from tasks.options import DATABASE, DATABASE_LONGEST, NEVER, hub_task

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = {
    "fail-orphans": DATABASE,
    "delete-ended-jobs": NEVER,
    "delete-orphans": NEVER,
    "begin-rotation": DATABASE,
    "promote-key": NEVER,
    "reseal-values": NEVER,
    "verify-values": NEVER,
    "finish-rotation": DATABASE_LONGEST,
}
"""Each step's policy; those that go batch by batch are resumed by the flow's own retries."""


async def run_step_as_task(name: str, work: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step as a task of that name."""
    return await hub_task(name, retry=RETRIES[name])(work)(*args, **kwargs)
