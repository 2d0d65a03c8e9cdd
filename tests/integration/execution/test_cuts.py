"""The connection to the database is cut in the middle of a transaction: no job is lost, and no call made twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution.attempt import Attempt, NotClaimed
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.orchestration.dispatcher import dispatch_now, open_run
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.upstream.connections import Connections
from tests.fixtures.cutting import MOMENTS, Moment, Proxy
from tests.fixtures.jobs import Table
from tests.fixtures.library import Library
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.shared_runs import opened, run_rows, shared
from tests.fixtures.upstreams import own_server

CALL = JobRequest("tool_invoke", "journaled__plain", {"tag": "one", "seconds": 0.0})
CLAIM, SENT, ENDED = "status = 'running', attempt = attempt + 1", "SET sent_at = now()", "jsonb_to_recordset"
DISPATCHED = "SET dispatched_at = now(), flow_run_id"
OPENED, NOTED, QUEUED_CLAIM = "INSERT INTO shared_runs (id)", "nexus_runs", "claim_id = gen_random_uuid(), batch_id"


@dataclass
class Worker:
    """Steps whose connections can be cut, a rescuer whose connections can't, and what the upstream has done."""

    library: Library
    execution: Execution
    rescuer: Rescuer
    table: Table
    ref: ServerRef
    journal: Path

    @property
    def calls(self) -> int:
        """How many calls have reached the upstream."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return sum(json.loads(line)["event"] == "begin" for line in lines)

    async def claimed(self, job_id: UUID, number: int) -> Attempt:
        """The job, which must be there to be taken."""
        claimed = await self.execution.claim(job_id, number, uuid4())
        assert isinstance(claimed, Attempt), claimed
        return claimed

    async def sent(self, attempt: Attempt) -> Attempt:
        """An attempt whose call has been made."""
        await self.execution.open(attempt)
        assert await self.execution.admit(attempt) == 0
        await self.execution.call(attempt)
        return attempt

    async def rescue(self, job_id: UUID) -> None:
        """Take back the job, whose lease is over."""
        await self.change(job_id, "lease_expires_at = now() - interval '1 minute'")
        assert (await self.rescuer.rescue()).rescued == 1

    async def change(self, job_id: UUID, assignment: str) -> None:
        """Change the row past the hub."""
        await self.table.connection.execute(f"UPDATE job_results SET {assignment} WHERE id = %s".encode(), [job_id])

    async def require_one_completed(self, job_id: UUID, attempt: int) -> None:
        """The job has its result of the one call that was made, in this attempt."""
        job = await store.get(self.library.database, OPERATOR, job_id)
        assert (job["status"], job["attempt"], self.calls) == ("completed", attempt, 1)
        assert job["result"]["isError"] is False


@pytest.fixture
async def worker(
    library: Library, proxy: Proxy, connections: Connections, prefect: FakePrefect, table: Table, tmp_path: Path
) -> AsyncIterator[Worker]:
    journal = tmp_path / "journal"
    ref = await library.servers.register("journaled", own_server("journaled", "--journal", str(journal)))
    rescuer = Rescuer(library.database, prefect, Mirror(library.database), lease_seconds=0)
    async with Database(proxy.app_url, name="cut") as database:
        execution = Execution(database, library.servers, connections, Limiter(database), 1024 * 1024)
        yield Worker(library, execution, rescuer, table, ServerRef("system", ref.id), journal)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_claim_that_is_cut_is_taken_again(worker: Worker, proxy: Proxy, moment: Moment) -> None:
    job_id, attempt = await worker.library.submitted(CALL), 1
    cut = proxy.cut(CLAIM, moment)
    with pytest.raises(DatabaseUnavailable):
        await worker.execution.claim(job_id, 1, uuid4())
    assert cut.done.is_set()
    if moment == "commit":
        assert isinstance(await worker.execution.claim(job_id, 1, uuid4()), NotClaimed)
        await worker.rescue(job_id)
        await worker.change(job_id, "available_at = now()")
        attempt = 2
    claimed = await worker.sent(await worker.claimed(job_id, attempt))
    assert await worker.execution.record(claimed) == "completed"
    await worker.require_one_completed(job_id, attempt)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_call_is_not_made_when_the_note_that_it_goes_out_is_cut(
    worker: Worker, proxy: Proxy, moment: Moment
) -> None:
    job_id = await worker.library.submitted(CALL)
    claimed = await worker.claimed(job_id, 1)
    await worker.execution.open(claimed)
    cut = proxy.cut(SENT, moment)
    with pytest.raises(DatabaseUnavailable) as away:
        await worker.execution.admit(claimed)
    assert cut.done.is_set()
    claimed.failure = away.value
    assert await worker.execution.record(claimed) == "requeued"
    assert worker.calls == 0
    await worker.change(job_id, "available_at = now()")
    again = await worker.sent(await worker.claimed(job_id, 2))
    assert await worker.execution.record(again) == "completed"
    await worker.require_one_completed(job_id, 2)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_an_end_that_is_cut_is_written_once(worker: Worker, proxy: Proxy, moment: Moment) -> None:
    job_id = await worker.library.submitted(CALL)
    claimed = await worker.sent(await worker.claimed(job_id, 1))
    version = (await store.get(worker.library.database, OPERATOR, job_id))["version"]
    cut = proxy.cut(ENDED, moment)
    await worker.execution.record(claimed)
    assert cut.done.is_set()
    await worker.require_one_completed(job_id, 1)
    assert (await store.get(worker.library.database, OPERATOR, job_id))["version"] == version + 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_dispatch_that_is_cut_makes_one_run(
    worker: Worker, proxy: Proxy, prefect: FakePrefect, moment: Moment
) -> None:
    job_id = await worker.library.submitted(CALL)
    cut = proxy.cut(DISPATCHED, moment)
    assert not await dispatch_now(worker.execution.database, prefect, job_id)
    assert cut.done.is_set()
    async with asyncio.timeout(60):
        while (run := (await store.get(worker.library.database, OPERATOR, job_id))["flow_run_id"]) is None:
            worker.rescuer.wake()
            await worker.rescuer.reconcile()
    assert prefect.keys == {f"{job_id}:1:0": run}


@pytest.mark.parametrize("text", [OPENED, NOTED])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_shared_run_whose_making_is_cut_is_made_once(
    worker: Worker, proxy: Proxy, prefect: FakePrefect, moment: Moment, text: str
) -> None:
    await store.add_batch(worker.library.database, OPERATOR, [(CALL, worker.ref, "plain")] * 2, uuid4())
    cut = proxy.cut(text, moment)
    with pytest.raises(DatabaseUnavailable):
        await open_run(worker.execution.database, prefect)
    assert cut.done.is_set()
    await worker.table.connection.execute("UPDATE shared_runs SET created_at = created_at - interval '1 minute'")
    await worker.table.connection.execute("UPDATE job_results SET available_at = available_at - interval '1 minute'")
    for _ in range(2):
        worker.rescuer.wake()
        await worker.rescuer.reconcile()
    ((run_id, flow_run_id, begun, closed),) = await run_rows(worker.table)
    assert prefect.keys == {f"batch:{run_id}": flow_run_id}
    assert not begun
    assert not closed


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_shared_run_whose_claims_are_cut_makes_each_call_once(
    worker: Worker, proxy: Proxy, moment: Moment
) -> None:
    """Claims that nobody heard of run out, and their jobs go on as another attempt."""
    ids, _ = await store.add_batch(worker.library.database, OPERATOR, [(CALL, worker.ref, "plain")] * 3, uuid4())
    cut = proxy.cut(QUEUED_CLAIM, moment)
    run_id = await opened(worker.library.database)
    working = asyncio.create_task(shared(worker.execution, linger_seconds=60).run(run_id, uuid4()))
    await cut.done.wait()
    if moment == "commit":
        await worker.table.connection.execute("UPDATE job_results SET lease_expires_at = now() - interval '1 s'")
        assert (await worker.rescuer.rescue()).rescued == 3
        await worker.table.connection.execute("UPDATE job_results SET dispatched_at = now()")
    async with asyncio.timeout(60):
        while {(await store.get(worker.library.database, OPERATOR, one))["status"] for one in ids} != {"completed"}:
            await asyncio.sleep(0.1)
    assert worker.calls == 3
    working.cancel()
