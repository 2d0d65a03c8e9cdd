"""What a task may raise: a code, and nothing else, since Prefect stores and pickles exceptions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nexus_hub.errors import HubError


class TaskFailed(Exception):
    """A task's failure by its code, and a fixed sentence about it that holds nothing of the call."""

    @property
    def code(self) -> str:
        """The code of the error behind it."""
        return str(self.args[0])

    @property
    def explained(self) -> str:
        """The code and what it stands for."""
        return ": ".join(map(str, self.args))


@asynccontextmanager
async def codes_only() -> AsyncIterator[None]:
    """Replace whatever is raised by its code.

    Raises:
        TaskFailed: instead of any error.
    """
    failed: TaskFailed | None = None
    try:
        yield
    except HubError as error:
        failed = TaskFailed(error.code, (type(error).__doc__ or "").split(";")[0].split("\n")[0].rstrip("."))
    except Exception as error:
        failed = TaskFailed("internal-error", type(error).__name__)
    if failed is not None:
        raise failed
