"""The steps of a single job's flow run: those of the pipeline, each as a task with the retries of the library."""

import pytest
from prefect.tasks import Task

from flows import attempt
from nexus_hub.calls import retries
from nexus_hub.calls.pipeline import CallSteps
from tasks.mcp_calls import call_upstream
from tasks.rate_limit import take_rate_limit
from tasks.vault import open_credentials


def test_a_flow_run_takes_the_steps_of_the_pipeline_as_tasks_in_their_places() -> None:
    assert isinstance(attempt.STEPS, CallSteps)
    assert (attempt.STEPS.open, attempt.STEPS.admit) == (open_credentials, take_rate_limit)


@pytest.mark.parametrize(
    ("step", "name", "policy"),
    [
        (open_credentials, "open-credentials", retries.DATABASE),
        (take_rate_limit, "take-rate-limit", retries.DATABASE),
        (call_upstream, "call-upstream", retries.UPSTREAM),
    ],
)
def test_a_step_is_repeated_as_task_as_the_library_repeats_it(
    step: "Task[..., object]", name: str, policy: retries.RetryPolicy
) -> None:
    assert step.name == name
    assert step.retries == len(policy.pauses)
    assert step.retry_delay_seconds == list(policy.pauses)
