"""The parts of Prefect that it may change without notice, as the hub uses them: raising its version begins here."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow_engine
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.utilities.callables import get_call_parameters, parameter_schema, parameters_to_args_kwargs
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker

from deployments.worker import prefect_internals
from deployments.worker.prefect_internals import RunsClient
from deployments.worker.worker import NexusWorker

SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (PrefectClient.request, "self method path params path_params kwargs"),
    (PrefectClient.read_flow_run, "self flow_run_id"),
    (AsyncFlowRunEngine.begin_run, "self"),
    (AsyncFlowRunEngine.start, "self"),
    (AsyncFlowRunEngine.is_running, "self"),
    (AsyncFlowRunEngine.run_context, "self"),
    (AsyncFlowRunEngine.call_flow_fn, "self"),
    (AsyncFlowRunEngine.setup_flow_run_suspension_request, "self"),
    (get_call_parameters, "fn call_args call_kwargs apply_defaults"),
    (parameters_to_args_kwargs, "fn parameters"),
    (parameter_schema, "fn"),
    (propose_state, "client state flow_run_id force"),
    (BaseWorker.setup, "self"),
    (BaseWorker.teardown, "self exc_info"),
    (BaseWorker.run, "self flow_run configuration task_status"),
    (BaseWorker.start, "self run_once with_healthcheck printer"),
    (BaseWorker.sync_with_backend, "self"),
    (BaseWorker.get_and_submit_flow_runs, "self"),
    (BaseWorker.get_default_base_job_template, ""),
]


@pytest.mark.parametrize(("function", "parameters"), SIGNATURES, ids=lambda one: getattr(one, "__qualname__", ""))
def test_a_function_of_prefects_takes_what_it_took(function: Callable[..., Any], parameters: str) -> None:
    assert " ".join(inspect.signature(function).parameters) == parameters


def test_a_worker_keeps_what_is_read_of_it_under_the_same_names() -> None:
    worker = NexusWorker("nexus", work_queues=["b", "a"], limit=3)
    assert prefect_internals.get_pool(worker) is None
    assert prefect_internals.get_task_group(worker) is None
    assert prefect_internals.get_queues(worker) == ["a", "b"]
    assert prefect_internals.get_limit(worker) == 3
    before = worker._last_polled_time
    prefect_internals.note_poll(worker)
    assert worker._last_polled_time > before


def test_the_engine_has_the_parts_that_are_replaced() -> None:
    assert {"flow", "flow_run", "parameters", "_flow_run_suspension_request"} <= {
        *AsyncFlowRunEngine.__dataclass_fields__
    }
    assert isinstance(AsyncFlowRunEngine.client, property)
    assert "flow_run" in WorkerFlowRunResponse.model_fields


def test_the_engine_notes_at_a_run_only_what_the_client_leaves_out() -> None:
    """Of another note the client would have to know."""
    source = inspect.getsource(flow_engine.AsyncFlowRunEngine)
    (call,) = source.split("self.client.update_flow_run(")[1:]
    noted = [line.split("=")[0].strip() for line in call.partition(")")[0].strip().splitlines()]
    assert noted == ["flow_run_id", "flow_version", "empirical_policy"]
    assert issubclass(RunsClient, PrefectClient)
