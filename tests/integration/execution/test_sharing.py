"""Jobs that come together on an API and workers as they are, but for Prefect, which is played.

No sweep helps where a test does not ask for it: what is stored is carried by the runs that it has itself asked for.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from nexus_hub.api.app import create_app
from nexus_hub.execution import shared_runs
from nexus_hub.orchestration import dispatcher
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.settings import Settings
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.jobs import Table
from tests.fixtures.played_worker import PlayedWorker, played_worker
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.shared_runs import run_rows
from tests.fixtures.upstreams import own_server

KEY = "the-service-key-of-this-test"
FOUR_HOURS = 4 * 3600
ECHO: dict[str, Any] = {"name": "habits__echo"}
HANG: dict[str, Any] = {"name": "habits__wait", "arguments": {"seconds": FOUR_HOURS}, "timeout_seconds": FOUR_HOURS}
LIKE_THE_FIRST = (
    b"INSERT INTO job_results (job_type, server_id, server_type, server_ref_id, tool_name, params, dispatched_at) "
    b"SELECT job_type, server_id, server_type, server_ref_id, tool_name, params, now() FROM job_results LIMIT 1 "
    b"RETURNING id"
)
SHORT: dict[str, Any] = {"name": "habits__wait", "arguments": {"seconds": 1}}


class Place:
    """An API with its clients, on one database with one Prefect, and the workers that a test begins there."""

    def __init__(self, settings: Settings, prefect: FakePrefect, stack: AsyncExitStack, table: Table) -> None:
        self.prefect = prefect
        self.table = table
        self._settings = settings
        self._stack = stack

    async def open(self) -> None:
        app = create_app(self._settings)
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        self.runtime = app.state.runtime
        self._transport = httpx.ASGITransport(app)
        for name in ("habits", "other"):
            await self.runtime.servers.register(name, own_server("habits"))
        self.operator = await self._client(KEY)

    async def user(self, name: str) -> httpx.AsyncClient:
        """The client of a new user."""
        (await self.operator.post("/v1/users", json={"name": name})).raise_for_status()
        answer = await self.operator.post(f"/v1/users/{name}/tokens")
        return await self._client(answer.raise_for_status().json()["token"])

    async def worker(self, *, places: int = 128, **changes: Any) -> PlayedWorker:
        """A worker, until the end of the test."""
        settings = self._settings.model_copy(update={"worker_places": places})
        return await self._stack.enter_async_context(played_worker(settings, self.prefect, **changes))

    def sweeper(self) -> Rescuer:
        """A sweep that does rounds when it is told to, and takes every lease that ran out for lost."""
        runtime = self.runtime
        return Rescuer(runtime.database, self.prefect, runtime.mirror, lease_seconds=0)

    async def ended(self, jobs: Iterable[str]) -> list[str]:
        """Wait until these jobs have ended; how they did."""
        ids = list(jobs)
        async with asyncio.timeout(60):
            while set(statuses := await self.column("status", ids)) & {"pending", "running"}:
                await asyncio.sleep(0.05)
        return statuses

    async def column(self, name: str, jobs: Iterable[str]) -> list[Any]:
        ids = list(jobs)
        cursor = await self.table.connection.execute(
            f"SELECT id::text, {name} FROM job_results WHERE id = ANY (%s::uuid[])".encode(), [ids]
        )
        found = dict(await cursor.fetchall())
        return [found[job] for job in ids]

    async def _client(self, token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return await self._stack.enter_async_context(
            httpx.AsyncClient(transport=self._transport, base_url="http://hub", headers=headers)
        )


async def sent(client: httpx.AsyncClient, job: dict[str, Any] = ECHO) -> str:
    answer = await client.post("/v1/jobs", json=job)
    job_id: str = answer.raise_for_status().json()["id"]
    return job_id


async def sent_together(client: httpx.AsyncClient, jobs: list[dict[str, Any]]) -> list[str]:
    answer = await client.post("/v1/jobs:batch", json=jobs)
    ids: list[str] = answer.raise_for_status().json()["ids"]
    return ids


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


async def until_running(place: Place, jobs: list[str], count: int) -> None:
    async with asyncio.timeout(60):
        while (await place.column("status", jobs)).count("running") < count:
            await asyncio.sleep(0.05)


@pytest.fixture
async def place(
    database: HubDatabase, tmp_path: Path, prefect: FakePrefect, table: Table, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setattr("nexus_hub.runtime.PrefectClient", lambda *_: nullcontext(prefect))
    monkeypatch.setattr("nexus_hub.orchestration.rescuer.Rescuer.loops", lambda _: ())
    settings = Settings(
        home=tmp_path,
        database_url=SecretStr(database.app_url),
        service_key=SecretStr(KEY),
        vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
        prefect_api_url="http://127.0.0.1:1/api",
        worker_limit=3,
    )
    async with AsyncExitStack() as stack:
        place = Place(settings, prefect, stack, table)
        await place.open()
        yield place


async def test_whoever_joins_while_runs_open_and_end_is_carried(place: Place) -> None:
    """Clients come at random moments, one by one and several at once; runs end whenever there is a lull."""
    await place.worker(linger_seconds=0.05, open_seconds=0.4)
    await place.worker(linger_seconds=0.0, open_seconds=0.2)

    async def come(chance: random.Random) -> list[str]:
        jobs: list[str] = []
        for _ in range(12):
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05, 0.1, 0.3]))
            if chance.random() < 0.2:
                jobs += await sent_together(place.operator, [ECHO] * chance.randint(1, 5))
            else:
                jobs.append(await sent(place.operator))
        return jobs

    came = await asyncio.gather(*(come(random.Random(number)) for number in range(6)))
    jobs = [job for some in came for job in some]
    assert set(await place.ended(jobs)) == {"completed"}
    assert set(await place.column("attempt", jobs)) == {1}
    assert len(await run_rows(place.table)) > 1, "runs have ended in between"
    assert len(set(await place.column("flow_run_id", jobs))) < len(jobs), "and were shared"


async def test_a_job_that_comes_alone_has_a_run_of_its_own_and_one_beside_it_has_not(place: Place) -> None:
    await place.worker()
    alone = await sent(place.operator)
    await place.ended([alone])
    first = await sent(place.operator, SHORT | {"arguments": {"seconds": 5}})
    await until_running(place, [first], 1)
    beside = [await sent(place.operator) for _ in range(2)]
    await place.ended([first, *beside])
    runs = await place.column("flow_run_id", [alone, first])
    assert set(runs) == set(place.prefect.runs.values())
    assert set(await place.column("flow_run_id", beside)) <= set(place.prefect.shared.values())


async def test_a_flood_of_jobs_that_hang_for_hours_holds_up_nobody_else(place: Place) -> None:
    """Neither all at once nor in many runs one after the other, each of which it keeps from ending."""
    await place.worker(places=8, limit=3, linger_seconds=0.05, open_seconds=0.2)
    ann, ben = await place.user("ann"), await place.user("ben")
    flood = await sent_together(ann, [HANG] * 30)
    await until_running(place, flood, 2)
    for round_ in range(6):
        await sent(ann, HANG)
        others = [await sent(client, ECHO | {"arguments": {"n": round_}}) for client in (ben, place.operator)]
        others += await sent_together(ben, [ECHO] * 3)
        assert set(await place.ended(others)) == {"completed"}
    assert (await place.column("status", flood)).count("running") <= 2, "half of the places of its server"


async def test_jobs_that_hang_one_after_the_other_take_no_worker_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each comes alone, and keeps a run of the worker's few; so they would all be gone one day."""
    monkeypatch.setattr(dispatcher, "FORGOTTEN_SECONDS", 0.0)
    await place.worker(places=16, limit=3, linger_seconds=0.05, open_seconds=0.2)
    ann, ben = await place.user("ann"), await place.user("ben")
    for _ in range(5):
        hanging = await sent(ann, HANG)
        await place.ended([await sent(ben)])
        assert await place.column("status", [hanging]) != ["completed"]


async def test_a_server_that_hangs_for_all_its_users_holds_up_no_other_server(place: Place) -> None:
    await place.worker(places=16, linger_seconds=0.05, open_seconds=0.2)
    users = [await place.user(name) for name in ("ann", "ben", "cleo")]
    floods = [await sent_together(user, [HANG] * 10) for user in (*users, place.operator)]
    await until_running(place, [job for flood in floods for job in flood], 4)
    for user in (*users, place.operator):
        others = [await sent(user, ECHO | {"name": "other__echo"}) for _ in range(3)]
        assert set(await place.ended(others)) == {"completed"}


async def test_a_run_that_is_cancelled_before_it_begins_takes_its_batch_along(place: Place) -> None:
    place.prefect.paused = True
    batch = await sent_together(place.operator, [ECHO] * 3)
    joined = [await sent(place.operator) for _ in range(2)]
    await until(lambda: bool(place.prefect.shared))
    (flow_run_id,) = place.prefect.shared.values()
    worker = await place.worker()
    await place.prefect.cancel(flow_run_id)
    await worker.hear_cancelled(flow_run_id)
    assert set(await place.ended(batch)) == {"cancelled"}
    place.prefect.paused = False
    later = await sent(place.operator)
    assert set(await place.ended([later])) == {"completed"}
    assert set(await place.ended(joined)) == {"completed"}, "the next run takes them too"
    assert worker.carried == [place.prefect.shared[run] for run in list(place.prefect.shared)[1:]]


async def test_a_run_that_is_cancelled_takes_along_what_it_carries_and_what_is_left_of_its_batch(place: Place) -> None:
    worker = await place.worker(places=2)
    batch = await sent_together(place.operator, [HANG] * 4)
    await until_running(place, batch, 1)
    waiting = [await sent(place.operator) for _ in range(2)]
    (flow_run_id,) = set(await place.column("flow_run_id", batch)) - {None}
    await place.prefect.cancel(flow_run_id)
    await worker.hear_cancelled(flow_run_id)
    assert set(await place.ended(batch)) == {"cancelled"}
    assert set(await place.ended(waiting)) == {"completed"}, "another run goes on with them"
    await until(lambda: not worker.running)
    assert place.prefect.known[flow_run_id].type == "CANCELLED"
    assert len(worker.carried) > 1


async def test_a_run_whose_worker_is_killed_is_followed_by_another(place: Place) -> None:
    killed = await place.worker()
    once = await sent_together(place.operator, [HANG] * 3)
    again = await sent_together(place.operator, [SHORT | {"retry": "always", "arguments": {"seconds": 5}}] * 3)
    async with asyncio.timeout(60):
        while set(await place.column("sent_at IS NOT NULL", once + again)) != {True}:
            await asyncio.sleep(0.05)
    await killed.kill()
    waiting = await sent_together(place.operator, [ECHO] * 3)
    await place.table.connection.execute("UPDATE shared_runs SET lease_expires_at = now() WHERE closed_at IS NULL")
    await place.table.connection.execute(
        "UPDATE job_results SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'"
    )
    other = await place.worker()
    sweeper = place.sweeper()
    await sweeper.rescue()
    for _ in range(2):
        sweeper.wake()
        await sweeper.reconcile()
        await place.table.connection.execute("UPDATE job_results SET available_at = now() WHERE status = 'pending'")
    assert set(await place.ended(waiting + again)) == {"completed"}
    assert set(await place.ended(once)) == {"failed"}
    assert set(await place.column("error_code", once)) == {"outcome-unknown"}
    assert set(await place.column("attempt", again)) == {2}
    assert set(place.prefect.crashed) == set(killed.carried)
    assert other.carried


async def test_a_run_goes_on_and_is_joined_while_prefect_is_away(place: Place) -> None:
    await place.worker(linger_seconds=5)
    first = await sent_together(place.operator, [ECHO] * 2)
    await place.ended(first)
    place.prefect.away = True
    for _ in range(3):
        joined = [await sent(place.operator), *await sent_together(place.operator, [ECHO] * 3)]
        assert set(await place.ended(joined)) == {"completed"}
    assert set(await place.column("flow_run_id", joined)) == set(place.prefect.shared.values())


async def test_what_comes_while_prefect_is_away_goes_on_once_it_is_back(place: Place) -> None:
    await place.worker()
    await place.prefect.has_shared_runs()
    place.prefect.away = True
    jobs = [await sent(place.operator), *await sent_together(place.operator, [ECHO] * 3), await sent(place.operator)]
    await place.runtime.dispatcher.drain()
    sweeper = place.sweeper()
    await place.table.connection.execute("UPDATE shared_runs SET created_at = now() - interval '5 min'")
    for away in (True, True, False):
        place.prefect.away = away
        sweeper.wake()
        await sweeper.reconcile()
    assert set(await place.ended(jobs)) == {"completed"}


async def test_in_a_paused_pool_an_open_run_takes_nothing_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_runs, "LONGEST_OPEN_SECONDS", 1.5)
    await place.worker(open_seconds=0.5)
    taken = await sent_together(place.operator, [HANG] * 2)
    await until_running(place, taken, 2)
    place.prefect.paused = True
    runtime = place.runtime

    async def is_closed() -> bool:
        rows = await run_rows(place.table)
        return any(closed for *_, closed in rows)

    stream: list[str] = []
    async with asyncio.timeout(60):
        while not await is_closed():
            stream.append(await sent(place.operator))
            await asyncio.sleep(0.05)
    late = [await sent(place.operator) for _ in range(3)]
    await runtime.dispatcher.drain()
    assert set(await place.column("status", late)) == {"pending"}
    place.prefect.paused = False
    assert set(await place.ended([*stream, *late])) == {"completed"}


async def test_retrying_a_run_that_has_ended_does_nothing(place: Place) -> None:
    """As somebody does in Prefect's UI; also if jobs wait by then, which another run is on its way for."""
    worker = await place.worker(linger_seconds=0.2)
    jobs = await sent_together(place.operator, [ECHO] * 2)
    await place.ended(jobs)
    await until(lambda: not worker.running)
    (flow_run_id,) = set(await place.column("flow_run_id", jobs))
    carried = len(worker.carried)
    before = await run_rows(place.table)
    versions = await place.column("version", jobs)
    place.prefect.enter(flow_run_id, "SCHEDULED")
    await until(lambda: len(worker.carried) == carried + 1 and not worker.running)
    assert place.prefect.known[flow_run_id].type == "COMPLETED"
    assert await run_rows(place.table) == before
    assert await place.column("version", jobs) == versions
    assert set(await place.ended([await sent(place.operator)])) == {"completed"}


async def test_of_two_workers_the_one_with_places_takes_the_next_run(place: Place) -> None:
    full = await place.worker(places=1, open_seconds=30)
    hanging = await sent_together(place.operator, [HANG])
    await until_running(place, hanging, 1)
    free = await place.worker(open_seconds=30)
    jobs = await sent_together(place.operator, [ECHO] * 5)
    assert set(await place.ended(jobs)) == {"completed"}
    assert set(await place.column("flow_run_id", jobs)) <= {*full.carried, *free.carried}
    hangs = await sent_together(place.operator, [HANG] * 5)
    await until_running(place, hangs, 5)
    assert set(await place.column("flow_run_id", hangs)) & set(free.carried)


async def test_jobs_go_on_singly_where_no_shared_run_can_be_made(place: Place) -> None:
    place.prefect.missing = {"invoke-batch"}
    await place.worker()
    jobs = [await sent(place.operator, SHORT), await sent(place.operator)]
    jobs += await sent_together(place.operator, [ECHO] * 3)
    await place.runtime.dispatcher.drain()
    sweeper = place.sweeper()
    for _ in range(2):
        sweeper.wake()
        await sweeper.reconcile()
    assert set(await place.ended(jobs)) == {"completed"}
    assert place.prefect.shared == {}


@pytest.mark.parametrize("open_seconds", [0.5, 30.0])
async def test_who_is_about_to_join_a_run_that_has_had_its_time_gets_another(place: Place, open_seconds: float) -> None:
    """Nobody else knows of the job yet when the run would close, and nobody looks for it later."""
    worker = await place.worker(linger_seconds=1, open_seconds=open_seconds)
    await place.ended(await sent_together(place.operator, [ECHO]))
    await until(lambda: not worker.running)
    place.runtime.dispatcher.open_run()
    await until(lambda: worker.runtime.shared_runs.taking is not None)
    async with place.runtime.database.transaction() as joining:
        assert await joining.one(shared_runs.SHARED_RUNS["join_run"], UUID) is not None
        job = await joining.only(LIKE_THE_FIRST, UUID)
        await asyncio.sleep(2.5)
    assert await place.ended([str(job)]) == ["completed"]
