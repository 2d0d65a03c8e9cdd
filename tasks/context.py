"""The runtime that the tasks of a process use: a worker sets it once, a run elsewhere opens its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from nexus_hub.errors import AtWork, HubError
from nexus_hub.runtime import Runtime, open_runtime
from nexus_hub.settings import load
from tasks.failures import to_task_failure

_RUNTIME: ContextVar[Runtime | None] = ContextVar("nexus_hub_runtime", default=None)


def current() -> Runtime:
    """Give the runtime of this process.

    Raises:
        LookupError: called outside `use` and `available`.
    """
    runtime = _RUNTIME.get()
    if runtime is None:
        raise LookupError("no runtime is open in this context")
    return runtime


def use(runtime: Runtime) -> None:
    """Let everything that this context starts from here on use the runtime."""
    _RUNTIME.set(runtime)


@asynccontextmanager
async def available() -> AsyncIterator[Runtime]:
    """Give the worker's runtime, or open one for a flow that runs outside our worker."""
    runtime = _RUNTIME.get()
    if runtime is not None:
        yield runtime
        return
    async with open_runtime(load(), "flow run") as own:
        token = _RUNTIME.set(own)
        try:
            yield own
        finally:
            _RUNTIME.reset(token)


@asynccontextmanager
async def exclusive_lock(flow: str) -> AsyncIterator[None]:
    """Be the one run of a flow, in all workers; the lock goes with the process that holds it.

    Raises:
        TaskFailed: another run is at work, or the database is away.
    """
    try:
        async with current().database.exclusive_lock(flow) as free:
            if not free:
                raise AtWork(flow)
            yield
    except HubError as error:
        failure = to_task_failure(error)
    else:
        return
    raise failure
