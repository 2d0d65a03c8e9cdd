"""Tasks that call upstream servers."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from nexus_hub.errors import UpstreamUnavailable
from nexus_hub.jobs.execution import Attempt
from tasks.context import current
from tasks.failures import TaskFailed, codes_only
from tasks.outcome import noted


def never_reached(_task: "Task[..., object]", _run: TaskRun, state: "State[object]") -> bool:
    """Whether the call never reached the server, so that repeating it is safe."""
    return isinstance(state.data, TaskFailed) and state.data.code == UpstreamUnavailable.code


@task(
    name="call-upstream",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[0.5, 1.5],
    retry_condition_fn=never_reached,
)
async def call_upstream(attempt: Attempt) -> None:
    """Send the request upstream; the attempt keeps the answer."""
    async with codes_only(), noted(attempt):
        await current().execution.call(attempt)
