"""What an attempt came to, kept on the attempt itself and out of Prefect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nexus_hub.errors import HubError
from nexus_hub.jobs.execution import Attempt


@asynccontextmanager
async def noted(attempt: Attempt) -> AsyncIterator[None]:
    """Keep the error of this step on the attempt: its row gets the message, Prefect only the code."""
    attempt.failure = None
    try:
        yield
    except HubError as error:
        attempt.failure = error
        raise
    except Exception:
        attempt.failure = InternalError()
        raise


class InternalError(HubError):
    """Something that should not happen; the worker's log has no more than its kind, on purpose."""

    code = "internal-error"

    def __init__(self) -> None:
        super().__init__("An unexpected error ended the attempt.")
