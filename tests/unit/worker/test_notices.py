"""What a worker does about a notice of a job, and how many runs it has room for; no Prefect and no database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool

from deployments.worker import poller as polling
from deployments.worker.poller import Poller
from deployments.worker.worker import NexusWorker
from nexus_hub.clock import RemoteClock
from nexus_hub.execution.fair_queue import PendingJob
from nexus_hub.live.listener import JobChange
from nexus_hub.orchestration.ownership import Ownership
from nexus_hub.runtime import Runtime

JOB, USER, SERVER = uuid4(), uuid4(), str(uuid4())
PENDING = JobChange(JOB, 1, "pending", USER, "tool_invoke", server_id=SERVER)
QUEUED = JobChange(JOB, 1, "pending", USER, "tool_invoke", server_id=SERVER, queued=True)


class Told(list[object]):
    """What the worker has told its shared runs and its poller."""

    def worker(self) -> NexusWorker:
        worker = NexusWorker("nexus")
        runs, wakeup = (
            SimpleNamespace(notice=self.append, forget=self.append),
            SimpleNamespace(wake=lambda: self.append("poll")),
        )
        worker._runtime = cast(Runtime, SimpleNamespace(shared_runs=runs))
        worker._poller = cast(Poller, SimpleNamespace(wakeup=wakeup))
        return worker


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (QUEUED, [PendingJob(JOB, SERVER, USER)]),
        (replace(QUEUED, version=4, user_id=None), [PendingJob(JOB, SERVER, None)]),
        (PENDING, [JOB]),
        (JobChange(JOB, 2, "pending", USER, "tool_invoke", server_id=SERVER), [JOB, "poll"]),
        (JobChange(JOB, 2, "running", USER, "tool_invoke", 1, server_id=SERVER), [JOB]),
        (JobChange(JOB, 3, "completed", USER, "tool_invoke", 1, server_id=SERVER), [JOB]),
        (None, [None, "poll"]),
    ],
    ids=["queued", "queued again", "stored", "has a run", "running", "ended", "missed"],
)
def test_a_notice_goes_to_whom_it_is_for(change: JobChange | None, told: list[object]) -> None:
    heard = Told()
    heard.worker()._notice(change)
    assert heard == told


def test_a_notice_before_the_worker_is_ready_is_harmless() -> None:
    NexusWorker("nexus")._notice(QUEUED)


@pytest.mark.parametrize(("running", "ending", "room"), [(0, 0, 3), (2, 0, 1), (3, 0, None), (3, 1, 1), (9, 9, 3)])
async def test_runs_that_only_wait_for_their_last_jobs_take_no_room(
    monkeypatch: pytest.MonkeyPatch, running: int, ending: int, room: int | None
) -> None:
    """Or a few jobs that hang, each in a run that ended long ago but for it, would keep the worker from taking more."""
    asked: list[int] = []

    async def read(_client: Any, _pool: Any, _queues: Any, _ahead: Any, limit: int, _clock: Any) -> list[FlowRun]:
        asked.append(limit)
        return []

    async def take(_: FlowRun) -> Ownership:
        return Ownership.UNKNOWN

    async def cancel(_: UUID) -> None:
        return None

    monkeypatch.setattr(polling, "read_scheduled_runs", read)
    pool = cast(WorkPool, SimpleNamespace(base_job_template={}))
    async with PrefectClient("http://127.0.0.1:1/api") as client, anyio.create_task_group() as group:
        poller = Poller(client, group, lambda: pool, [], 3, take, cancel, lambda: ending)
        poller.running = {uuid4(): cast(Any, None) for _ in range(running)}
        await poller.poll()
    assert asked == ([] if room is None else [room])


@pytest.mark.parametrize("hours", [-1, 1])
async def test_what_is_due_is_said_by_prefects_clock(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    now = datetime.now(UTC) + timedelta(hours=hours)
    runs = {seconds: scheduled(now + timedelta(seconds=seconds)) for seconds in (-5, 600)}

    async def read(*asked: Any) -> list[FlowRun]:
        clock: RemoteClock = asked[-1]
        clock.note(now.timestamp())
        return list(runs.values())

    async def take(_: FlowRun) -> Ownership:
        return Ownership.HELD_ELSEWHERE

    async def cancel(_: UUID) -> None:
        return None

    monkeypatch.setattr(polling, "read_scheduled_runs", read)
    pool = cast(WorkPool, SimpleNamespace(base_job_template={}))
    async with PrefectClient("http://127.0.0.1:1/api") as client, anyio.create_task_group() as group:
        poller = Poller(client, group, lambda: pool, [], None, take, cancel)
        assert await poller.poll() == [runs[-5]]
        poller.wakeup.close()


def scheduled(due: datetime) -> FlowRun:
    """A flow run that is due at a time."""
    return FlowRun(flow_id=uuid4(), next_scheduled_start_time=due)
