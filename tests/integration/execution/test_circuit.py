"""Jobs for a server whose circuit is open: they wait, and what they wait for costs them no attempt."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from nexus_hub.execution.attempt import Attempt
from nexus_hub.jobs import store
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.upstream.backoff import LONGEST_SECONDS
from nexus_hub.upstream.circuit import Circuit, CircuitOpen
from tests.fixtures.jobs import Table
from tests.fixtures.library import Library
from tests.fixtures.moody import Moody, moody
from tests.fixtures.shared_runs import carried

ECHO = JobRequest("tool_invoke", "moody__echo", {}, max_attempts=1)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Moody]:
    async with moody() as found:
        yield found


@pytest_asyncio.fixture
async def ref(library: Library, server: Moody) -> ServerRef:
    listed = await library.servers.register("moody", server.config, limits=Limits(per_minute=1000))
    return ServerRef(listed.server_type, listed.id)


@pytest.fixture
def circuit(library: Library, ref: ServerRef) -> Circuit:
    """The server's circuit, opened by another process."""
    return open_up(library, ref)


def open_up(library: Library, ref: ServerRef) -> Circuit:
    circuit = library.servers._connections.circuits.of(ref)
    circuit._answered_at = None
    circuit.follow(60, LONGEST_SECONDS)
    assert circuit.state == "open"
    return circuit


async def row(library: Library, job_id: UUID) -> tuple[Any, ...]:
    job = await store.get(library.database, OPERATOR, job_id)
    return job["status"], job["attempt"], job["error_code"]


async def taken(library: Library) -> int:
    async with library.database.transaction() as transaction:
        rows = await transaction.all(b"SELECT request_count FROM rate_limit_tracking", int)
    return sum(rows)


async def due(table: Table, *ids: UUID) -> None:
    query = "UPDATE job_results SET available_at = now() WHERE status = 'pending' AND id = ANY(%s)"
    await table.connection.execute(query, [list(ids)])


async def test_it_is_not_admitted_takes_nothing_from_the_limit_and_waits_with_its_attempt(
    library: Library, circuit: Circuit, server: Moody, table: Table
) -> None:
    claimed = await library.claimed(await library.submitted(ECHO))
    with library.execution.hold(claimed):
        wait = await library.execution.make_steps().run(claimed)
        assert 0 < wait <= LONGEST_SECONDS
        assert isinstance(claimed.failure, CircuitOpen)
        assert await library.execution.snooze(claimed, wait) is not None
    assert await row(library, claimed.id) == ("pending", 0, "circuit-open")
    assert await taken(library) == 0
    assert server.asked["tools/call"] == 0
    circuit.try_now()
    await due(table, claimed.id)
    assert await library.ran(claimed.id) == "completed"
    assert await row(library, claimed.id) == ("completed", 1, None)


async def test_one_that_opens_when_a_job_is_admitted_already_costs_it_nothing(library: Library, ref: ServerRef) -> None:
    claimed = await library.claimed(await library.submitted(ECHO))
    with library.execution.hold(claimed):
        await library.execution.open(claimed)
        assert await library.execution.admit(claimed) == 0
        open_up(library, ref)
        with pytest.raises(CircuitOpen) as caught:
            await library.execution.call(claimed)
        claimed.failure = caught.value
        assert claimed.snooze_seconds == caught.value.retry_after
        assert await library.execution.snooze(claimed, caught.value.retry_after) is not None
    assert (await row(library, claimed.id))[:2] == ("pending", 0)


async def test_those_of_a_shared_run_wait_together_and_are_all_carried_later(
    library: Library, circuit: Circuit, server: Moody, table: Table
) -> None:
    ids = [await library.submitted(ECHO) for _ in range(20)]
    await table.connection.execute(
        "UPDATE job_results SET dispatched_at = now(), flow_run_id = NULL WHERE id = ANY(%s)", [ids]
    )
    report = await carried(library.execution)
    assert set(report.outcomes) == {"snoozed"}
    assert {(await row(library, job_id))[:2] for job_id in ids} == {("pending", 0)}
    assert server.asked["tools/call"] == 0
    circuit.try_now()
    async with asyncio.timeout(60):
        while (await statuses(library, ids))["completed"] < len(ids):
            await due(table, *ids)
            await carried(library.execution)
    assert server.asked["tools/call"] == len(ids)


async def statuses(library: Library, ids: list[UUID]) -> Counter[str]:
    return Counter([(await row(library, job_id))[0] for job_id in ids])


async def test_a_job_that_finds_out_in_vain_has_used_an_attempt(
    library: Library, circuit: Circuit, server: Moody
) -> None:
    await server.stop()
    circuit.try_now()
    claimed = await library.claimed(await library.submitted(ECHO))
    assert isinstance(claimed, Attempt)
    with library.execution.hold(claimed):
        with pytest.raises(Exception, match="has not answered since") as caught:
            await library.execution.make_steps().run(claimed)
        claimed.failure = caught.value  # type: ignore[assignment]
        assert claimed.snooze_seconds is None
        assert await library.execution.record(claimed) == "failed"
    assert await row(library, claimed.id) == ("failed", 1, "upstream-unavailable")
