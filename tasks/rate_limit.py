"""Tasks that keep to a server's limit."""

from nexus_hub.execution.attempt import Attempt
from tasks.context import current
from tasks.failures import keep_failure
from tasks.options import DATABASE, hub_task


@hub_task("take-rate-limit", retry=DATABASE)
@keep_failure
async def take_rate_limit(attempt: Attempt) -> float:
    """Take the call from the server's limit; seconds to wait, or 0."""
    return await current().execution.admit(attempt)
