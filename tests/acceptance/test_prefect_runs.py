"""The contract of `PrefectRuns`: the same tests on the fake that other tests use, and on a real Prefect server."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.models import JobStatus
from nexus_hub.orchestration.prefect_client import PAGE, PrefectClient
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from tests.fixtures.hub import Hub
from tests.fixtures.prefect_runs import FakePrefect, KnownRun

ENDS: list[JobStatus] = ["completed", "failed", "cancelled"]


class Contract:
    """What the hub relies on; a subclass has the fixture `runs`, of which nobody takes what it makes, and `put`."""

    async def put(self, runs: PrefectRuns, run: UUID, kind: str) -> None:
        """Bring a run into a state."""
        raise NotImplementedError

    async def new(self, runs: PrefectRuns, kind: str) -> UUID:
        """A run of a job in a state."""
        run = await runs.start("tool_invoke", "contract", uuid4(), 1)
        await self.put(runs, run, kind)
        return run

    async def state(self, runs: PrefectRuns, run: UUID) -> str:
        """The type of a run's state."""
        return (await runs.states([run]))[run].type

    async def test_each_attempt_has_one_run_and_another_for_each_that_was_lost(self, runs: PrefectRuns) -> None:
        job = uuid4()
        first = await runs.start("tool_invoke", "a", job, 1)
        assert await runs.start("tool_invoke", "b", job, 1) == first
        others = [
            await runs.start("tool_invoke", "a", job, 2),
            await runs.start("tool_invoke", "a", job, 1, 1),
            await runs.start("tool_invoke", "a", job, 1, 2),
            await runs.start("resource_fetch", "a", uuid4(), 1),
        ]
        assert len({first, *others}) == 5
        assert await self.state(runs, first) == "SCHEDULED"

    async def test_a_shared_run_is_made_once(self, runs: PrefectRuns) -> None:
        run_id = uuid4()
        await runs.has_shared_runs()
        run = await runs.start_shared(run_id)
        assert await runs.start_shared(run_id) == run
        assert await runs.start_shared(uuid4()) != run
        assert await self.state(runs, run) == "SCHEDULED"

    async def test_a_key_has_one_run_of_a_flow(self, runs: PrefectRuns) -> None:
        key = str(uuid4())
        run = await runs.start_run("cleanup-jobs", "a", {"days_completed": 7}, idempotency_key=key)
        assert await runs.start_run("cleanup-jobs", "b", {"days_completed": 8}, idempotency_key=key) == run
        assert await runs.start_run("refresh-catalog", "a", {}, idempotency_key=key) != run
        assert await self.state(runs, run) == "SCHEDULED"

    async def test_all_deployments_are_there(self, runs: PrefectRuns) -> None:
        assert await runs.missing_deployments() == []

    async def test_a_state_has_a_type_and_an_age_and_an_unknown_run_has_none(self, runs: PrefectRuns) -> None:
        run = await self.new(runs, "RUNNING")
        states = await runs.states([run, uuid4()])
        assert list(states) == [run]
        assert states[run].type == "RUNNING"
        assert abs(states[run].age) < 600
        assert await runs.states([]) == {}

    @pytest.mark.parametrize(("before", "after"), [("SCHEDULED", "CANCELLED"), ("RUNNING", "CANCELLING")])
    async def test_who_runs_is_asked_to_stop_and_who_waits_is_cancelled(
        self, runs: PrefectRuns, before: str, after: str
    ) -> None:
        run = await self.new(runs, before)
        await runs.cancel(run)
        assert await self.state(runs, run) == after

    @pytest.mark.parametrize("before", ["SCHEDULED", "PENDING", "RUNNING"])
    async def test_a_run_without_a_process_crashes(self, runs: PrefectRuns, before: str) -> None:
        run = await self.new(runs, before)
        await runs.crash(run)
        assert await self.state(runs, run) == "CRASHED"

    @pytest.mark.parametrize("before", ["PENDING", "RUNNING"])
    async def test_a_run_without_a_process_begins_anew(self, runs: PrefectRuns, before: str) -> None:
        run = await self.new(runs, before)
        await runs.restart(run)
        assert await self.state(runs, run) == "SCHEDULED"

    @pytest.mark.parametrize("before", ["RUNNING", "COMPLETED", "CRASHED"])
    @pytest.mark.parametrize("status", ENDS)
    async def test_a_run_ends_like_its_job_whatever_end_it_shows(
        self, runs: PrefectRuns, status: JobStatus, before: str
    ) -> None:
        run = await self.new(runs, before)
        await runs.settle(run, status)
        assert await self.state(runs, run) == status.upper()

    async def test_a_run_that_is_cancelling_can_only_be_cancelled(self, runs: PrefectRuns) -> None:
        run = await self.new(runs, "CANCELLING")
        for call in (runs.crash(run), runs.settle(run, "completed"), runs.settle(run, "failed"), runs.cancel(run)):
            await call
            assert await self.state(runs, run) == "CANCELLING"
        await runs.settle(run, "cancelled")
        assert await self.state(runs, run) == "CANCELLED"

    @pytest.mark.parametrize("ended", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
    async def test_a_run_that_has_ended_is_not_ended_again(self, runs: PrefectRuns, ended: str) -> None:
        run = await self.new(runs, ended)
        for call in (runs.crash(run), runs.cancel(run), runs.restart(run)):
            await call
            assert await self.state(runs, run) == ended

    async def test_a_paused_run_waits_until_it_is_resumed(self, runs: PrefectRuns) -> None:
        job = uuid4()
        run = await runs.start("tool_invoke", "a", job, 1, is_paused=True)
        assert await runs.start("tool_invoke", "a", job, 1, is_paused=True) == run
        assert await self.state(runs, run) == "PAUSED"
        assert run in await runs.begun(-60, 0)
        await runs.resume(run)
        assert await self.state(runs, run) == "SCHEDULED"

    async def test_a_paused_run_is_ended_at_once(self, runs: PrefectRuns) -> None:
        cancelled, settled = [await runs.start("tool_invoke", "a", uuid4(), 1, is_paused=True) for _ in range(2)]
        await runs.cancel(cancelled)
        await runs.settle(settled, "cancelled")
        for run in (cancelled, settled):
            await runs.resume(run)
            assert await self.state(runs, run) == "CANCELLED"

    async def test_an_unknown_run_is_no_error(self, runs: PrefectRuns) -> None:
        unknown = uuid4()
        for call in (
            runs.crash(unknown),
            runs.settle(unknown, "completed"),
            runs.cancel(unknown),
            runs.resume(unknown),
            runs.restart(unknown),
        ):
            await call
        assert await runs.states([unknown]) == {}

    async def test_what_has_begun_and_not_ended_is_listed_oldest_first(self, runs: PrefectRuns) -> None:
        begun = [await self.new(runs, kind) for kind in ("PENDING", "RUNNING", "CANCELLING")]
        others = [await self.new(runs, kind) for kind in ("SCHEDULED", "COMPLETED", "CRASHED")]
        found, offset = list[UUID](), 0
        while page := await runs.begun(-60, offset):
            found += page
            offset += PAGE
        assert [run for run in found if run in {*begun, *others}] == begun
        assert not set(begun) & (await runs.begun(600, 0)).keys()


class TestFake(Contract):
    @pytest.fixture
    def runs(self) -> PrefectRuns:
        return FakePrefect()

    async def put(self, runs: PrefectRuns, run: UUID, kind: str) -> None:
        assert isinstance(runs, FakePrefect)
        runs.known[run] = KnownRun(kind, datetime.now(UTC))


@pytest.fixture(scope="module")
def paused(hub: Hub) -> Iterator[httpx.Client]:
    """Prefect's API while the hub's worker gets no runs."""
    with hub.prefect() as prefect:
        prefect.patch("/work_pools/nexus", json={"is_paused": True}).raise_for_status()
        yield prefect
        for kind in ("SCHEDULED", "PAUSED", "PENDING", "RUNNING", "CANCELLING"):
            wanted = {"flow_runs": {"state": {"type": {"any_": [kind]}}, "deployment_id": {"is_null_": False}}}
            for run in prefect.post("/flow_runs/filter", json=wanted).raise_for_status().json():
                if not run["auto_scheduled"]:
                    prefect.delete(f"/flow_runs/{run['id']}").raise_for_status()
        prefect.patch("/work_pools/nexus", json={"is_paused": False}).raise_for_status()


@pytest.mark.stack
class TestReal(Contract):
    @pytest.fixture
    async def runs(self, hub: Hub, paused: httpx.Client) -> AsyncIterator[PrefectRuns]:
        async with PrefectClient(hub.prefect_url, ":".join(hub.prefect_auth)) as client:
            yield client

    @pytest.fixture(autouse=True)
    def _server(self, paused: httpx.Client) -> None:
        self.server = paused

    async def put(self, runs: PrefectRuns, run: UUID, kind: str) -> None:
        steps = {"SCHEDULED": [], "CANCELLING": ["RUNNING", "CANCELLING"]}
        for step in steps.get(kind, [kind]):
            body = {"state": {"type": step, "name": step.capitalize()}, "force": True}
            assert self.server.post(f"/flow_runs/{run}/set_state", json=body).json()["status"] == "ACCEPT"
