"""The tasks' options: every task has them, and retries are for what passes by itself."""

import importlib
import inspect
import pkgutil
from typing import Any, cast

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.task_engine import AsyncTaskRunEngine
from prefect.tasks import Task

import flows
import tasks
from nexus_hub.calls.retries import UPSTREAM_PAUSES
from nexus_hub.errors import DatabaseUnavailable, HubError, NotFound, UpstreamUnavailable
from tasks.failures import TaskFailed, to_task_failure
from tasks.options import DATABASE, NEVER, UPSTREAM, TaskRetry, hub_task
from tasks.steps import run_step_as_task

SECRET = "s3cret-in-a-message"
MODULES = [
    importlib.import_module(f"{package.__name__}.{module.name}")
    for package in (tasks, flows)
    for module in pkgutil.iter_modules(package.__path__)
]
TASKS: list["Task[..., Any]"] = [
    value for module in MODULES for value in vars(module).values() if isinstance(value, Task)
]


def test_there_are_tasks_and_no_two_of_one_name() -> None:
    names = [one.name for one in TASKS]
    assert len(names) > 15
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("one", TASKS, ids=[one.name for one in TASKS])
async def test_every_task_raises_codes_alone_and_leaves_no_result(one: "Task[..., Any]") -> None:
    assert one.persist_result is False
    assert one.cache_policy == NO_CACHE
    with pytest.raises(TaskFailed) as caught:
        await one.fn(**{"no such argument": SECRET})
    assert caught.value.code == "internal-error"
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("one", [one for one in TASKS if one.retries], ids=lambda one: one.name)
async def test_prefect_tries_a_task_again_whose_retries_apply(one: "Task[..., Any]") -> None:
    """Its engine asks plain functions alone, and takes any other condition for a no."""
    run = TaskRun(task_key=one.task_key, dynamic_key="0")
    engine: AsyncTaskRunEngine[..., Any] = AsyncTaskRunEngine(task=one, task_run=run)
    passing = (DatabaseUnavailable.code, UpstreamUnavailable.code)
    assert True in [await engine.can_retry(TaskFailed(code, "")) for code in passing]
    assert await engine.can_retry(TaskFailed(NotFound.code, "")) is False


def test_a_task_keeps_the_signature_and_the_docstring_of_its_function() -> None:
    @hub_task("find", run_name="find {name}")
    async def find(name: str, limit: int = 3) -> list[str]:
        """Find."""
        return [name] * limit

    assert str(inspect.signature(find.fn)) == "(name: str, limit: int = 3) -> list[str]"
    assert (find.description, find.task_run_name) == ("Find.", "find {name}")


async def test_a_task_that_works_gives_its_result() -> None:
    @hub_task("double")
    async def double(number: int) -> int:
        return 2 * number

    assert await double.fn(4) == 8


async def test_a_code_that_a_step_within_raised_passes_as_it_is() -> None:
    stopped = TaskFailed("cancelled", "The run was cancelled")

    @hub_task("outer")
    async def outer() -> None:
        raise stopped

    with pytest.raises(TaskFailed) as caught:
        await outer.fn()
    assert caught.value is stopped


async def test_a_step_without_a_policy_is_refused() -> None:
    async def work() -> None: ...

    with pytest.raises(KeyError, match="no-such-step"):
        await run_step_as_task("no-such-step", work)


@pytest.mark.parametrize(
    ("policy", "error", "again"),
    [
        (DATABASE, DatabaseUnavailable(), True),
        (DATABASE, UpstreamUnavailable("weather", SECRET), False),
        (DATABASE, NotFound("server", "weather"), False),
        (UPSTREAM, UpstreamUnavailable("weather", SECRET), True),
        (UPSTREAM, UpstreamUnavailable("weather", SECRET, retry_after=3), False),
        (NEVER, DatabaseUnavailable(), False),
    ],
)
def test_a_policy_repeats_what_passes_by_itself(policy: TaskRetry, error: HubError, again: bool) -> None:
    state = cast("Any", Failed(data=to_task_failure(error)))
    assert policy.applies(cast("Any", None), cast("Any", None), state) is again


def test_a_defect_is_not_repeated() -> None:
    state = cast("Any", Failed(data=ValueError(SECRET)))
    assert not DATABASE.applies(cast("Any", None), cast("Any", None), state)


def test_the_call_task_pauses_as_the_batch_does() -> None:
    from tasks.mcp_calls import call_upstream

    assert call_upstream.retry_delay_seconds == list(UPSTREAM_PAUSES)
