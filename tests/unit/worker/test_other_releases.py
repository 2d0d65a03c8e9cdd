"""Runs of another release's deployments, which meet this release's workers while an upgrade is under way."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import anyio
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Scheduled

from deployments.version import code_version
from deployments.worker import poller
from deployments.worker.policy import OfAnotherRelease, Refused, RunPolicy
from deployments.worker.poller import LEFT_SECONDS, Poller
from nexus_hub.orchestration.ownership import Ownership

OTHER = "9.9.9+0123456789ab"
INVOKE = "flows.invoke.invoke_tool"


class Client(PrefectClient):
    """Knows one deployment."""

    def __init__(self, **members: Any) -> None:
        super().__init__("http://127.0.0.1:1/api")
        self.deployment = DeploymentResponse(id=uuid4(), flow_id=uuid4(), name="invoke-tool", **members)

    async def read_deployment(self, *_: Any) -> DeploymentResponse:
        return self.deployment

    def run(self, ago: float = 0, **parameters: Any) -> FlowRun:
        due = datetime.now(UTC) - timedelta(seconds=ago)
        return FlowRun(
            flow_id=uuid4(),
            deployment_id=self.deployment.id,
            name="one",
            parameters=parameters,
            next_scheduled_start_time=due,
            state=Scheduled(),
        )


async def permitted(client: Client, **parameters: Any) -> str:
    permit = await RunPolicy().permit(client.run(**parameters), client, {})
    return permit.deployed.entrypoint


@pytest.mark.parametrize("version", [OTHER, None, "7", code_version()])
async def test_a_run_that_is_understood_is_carried_out_whoever_deployed_it(version: str | None) -> None:
    client = Client(version=version, entrypoint=INVOKE)
    assert await permitted(client, tool="a__b", arguments={}, user="", attempt=1) == INVOKE


async def test_a_flow_that_another_release_brings_is_left_to_it() -> None:
    with pytest.raises(OfAnotherRelease, match="entrypoint"):
        await permitted(Client(version=OTHER, entrypoint="flows.next.do_next"))


async def test_a_parameter_that_another_release_brings_is_left_to_it() -> None:
    with pytest.raises(OfAnotherRelease, match="'note'"):
        await permitted(Client(version=OTHER, entrypoint=INVOKE), tool="a__b", note="x")


@pytest.mark.parametrize("version", [None, "", "7", "9.9.9", "x 9.9.9+0123456789ab", code_version()])
async def test_a_flow_that_no_release_has_made_is_refused_at_once(version: str | None) -> None:
    with pytest.raises(Refused):
        await permitted(Client(version=version, entrypoint="os.system"))


async def test_another_release_can_bring_no_commands_and_no_steps() -> None:
    with pytest.raises(Refused):
        await permitted(Client(version=OTHER, entrypoint=INVOKE, pull_steps=[{"a": {}}]))
    with pytest.raises(Refused):
        await permitted(Client(version=OTHER, entrypoint="flows.next.do_next", job_variables={"command": "id"}))


async def test_what_is_left_stays_scheduled_for_a_while_however_long_ago_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposed: list[State[Any]] = []
    now = 1000.0

    async def propose(_: PrefectClient, state: State[Any], **__: Any) -> State[Any]:
        proposed.append(state)
        return state

    monkeypatch.setattr(poller, "propose_state", propose)
    monkeypatch.setattr(poller, "time", SimpleNamespace(monotonic=lambda: now))
    client = Client(version=OTHER, entrypoint="flows.next.do_next")
    async with anyio.create_task_group() as runs:
        made = Poller(client, runs, lambda: None, [], 1, _unsaid, _nothing, limited=True)
        run = client.run(10 * LEFT_SECONDS)
        await made._run(run, {}, asyncio.Event())
        now += LEFT_SECONDS - 1
        await made._run(run, {}, asyncio.Event())
        assert not proposed
        assert not made.wakeup._woken.is_set(), "no poll follows at once, which would find it again"
        now += 2
        await made._run(run, {}, asyncio.Event())
    assert [state.type.value for state in proposed] == ["CRASHED"]
    assert "no worker of another one has taken it" in (proposed[0].message or "")


async def _unsaid(_: FlowRun) -> Ownership:
    return Ownership.UNKNOWN


async def _nothing(_: object) -> None:
    return None
