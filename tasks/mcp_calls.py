"""Tasks that call upstream servers."""

from nexus_hub.execution.attempt import Attempt
from tasks.context import current
from tasks.failures import keep_failure
from tasks.options import UPSTREAM, hub_task


@hub_task("call-upstream", retry=UPSTREAM)
@keep_failure
async def call_upstream(attempt: Attempt) -> None:
    """Send the request upstream; the attempt keeps the answer."""
    await current().execution.call(attempt)
