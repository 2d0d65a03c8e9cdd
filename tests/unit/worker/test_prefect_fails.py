"""Runs whose worker gets no answer of Prefect's, or an error of its server: they are not over."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Scheduled

from deployments.worker import poller
from deployments.worker.poller import Poller
from nexus_hub.orchestration.ownership import Ownership


class Client(PrefectClient):
    """Knows one deployment."""

    def __init__(self, entrypoint: str) -> None:
        super().__init__("http://127.0.0.1:1/api")
        self.deployment = DeploymentResponse(
            id=uuid4(), flow_id=uuid4(), name="invoke-tool", labels=None, entrypoint=entrypoint
        )

    async def read_deployment(self, *_: Any) -> DeploymentResponse:
        return self.deployment


def status_error(status: int) -> Exception:
    answer = httpx.Response(status, request=httpx.Request("POST", "http://127.0.0.1:1/api"))
    try:
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        return PrefectHTTPStatusError.from_httpx_error(error)
    raise AssertionError


def while_handling(error: Exception) -> Exception:
    """Another error, which came while the first one was handled, as in Prefect's engine."""
    later = AttributeError("'NoneType' object has no attribute 'is_completed'")
    later.__context__ = error
    return later


@pytest.mark.parametrize("at", ["pending", "running"])
@pytest.mark.parametrize(
    ("error", "is_over"),
    [
        (status_error(500), False),
        (status_error(503), False),
        (httpx.ReadTimeout("late"), False),
        (httpx.ConnectError("gone"), False),
        (while_handling(status_error(500)), False),
        (status_error(404), True),
        (status_error(422), True),
        (RuntimeError("ours"), True),
        (while_handling(RuntimeError("ours")), True),
    ],
)
async def test_a_run_is_crashed_only_for_what_is_not_prefects_own_trouble(
    at: str, error: Exception, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"tool": "a__b", "arguments": {}, "user": "", "attempt": 1}
    proposed = await _run_once("flows.invoke.invoke_tool", given, at, error, monkeypatch)
    assert proposed == ["PENDING", *(["CRASHED"] if is_over else [])]


async def _run_once(
    entrypoint: str, parameters: dict[str, Any], at: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Carry out a run that meets the error; the states that were proposed of it."""
    proposed: list[str] = []

    async def propose(_: PrefectClient, state: State[Any], **__: Any) -> State[Any]:
        proposed.append(state.type.value)
        if at == "pending" and state.is_pending():
            raise error
        return state

    async def execute(*_: Any) -> State[Any]:
        raise error

    monkeypatch.setattr(poller, "propose_state", propose)
    monkeypatch.setattr(poller, "execute", execute)
    client = Client(entrypoint)
    run = FlowRun(
        flow_id=uuid4(),
        deployment_id=client.deployment.id,
        name="one",
        parameters=parameters,
        next_scheduled_start_time=datetime.now(UTC),
        state=Scheduled(),
    )
    async with anyio.create_task_group() as runs:
        made = Poller(client, runs, lambda: None, [], 1, _unsaid, _nothing, limited=True)
        await made._run(run, {}, asyncio.Event())
    assert not made.running
    assert made.wakeup._woken.is_set() == ("CRASHED" in proposed), "no poll follows at once on what is left"
    return proposed


async def _unsaid(_: FlowRun) -> Ownership:
    return Ownership.UNKNOWN


async def _nothing(_: object) -> None:
    return None


async def test_a_run_of_maintenance_is_crashed_as_nobody_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    proposed = await _run_once("flows.refresh_catalog.refresh_catalog", {}, "running", status_error(500), monkeypatch)
    assert proposed == ["PENDING", "CRASHED"]
