"""Circuits of two processes that share them through one database."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers.circuits import REST_SECONDS, SharedCircuits
from nexus_hub.servers.registry import find
from nexus_hub.upstream.circuit import Circuit, Circuits
from tests.fixtures.library import CutDatabase
from tests.fixtures.postgres import HubDatabase

ADD = (
    b"INSERT INTO system_servers (id, name, transport, endpoint, config_encrypted, key_id) "
    b"VALUES (%(id)s, 'weather', 'http', 'https://weather', decode(repeat('00', 64), 'hex'), '00000000')"
)
ADD_OWN = (
    b"INSERT INTO user_servers (id, user_id, name, transport, endpoint, config_encrypted, key_id) "
    b"VALUES (%(id)s, %(user_id)s, 'weather', 'http', 'https://weather', decode(repeat('00', 64), 'hex'), '00000000')"
)


@dataclass
class Process:
    """A process of the hub, as far as its circuits go."""

    circuits: Circuits
    shared: SharedCircuits

    def of(self, ref: ServerRef) -> Circuit:
        return self.circuits.of(ref)


Start = Callable[[], Process]


@pytest.fixture
def time() -> list[float]:
    return [1000.0]


@pytest.fixture
def start(hub_database: Database, time: list[float]) -> Start:
    def begin() -> Process:
        circuits = Circuits(lambda: time[0], lambda: 1.0)
        return Process(circuits, SharedCircuits(hub_database, circuits, lambda: time[0]))

    return begin


@pytest_asyncio.fixture
async def ref(hub_database: Database) -> ServerRef:
    ref = ServerRef("system", uuid4())
    async with hub_database.transaction() as transaction:
        await transaction.run(ADD, id=ref.server_ref_id)
    return ref


async def shown(database: Database, ref: ServerRef) -> Any:
    server = await find(database, OPERATOR, str(ref.server_ref_id))
    return server.circuit


async def version(database: Database) -> Any:
    async with database.transaction() as transaction:
        return await transaction.all(b"SELECT xmin::text AS version FROM server_state", str)


async def test_what_one_process_finds_the_others_learn_with_their_next_look(
    start: Start, hub_database: Database, ref: ServerRef
) -> None:
    one, other = start(), start()
    assert await shown(hub_database, ref) == "closed"
    one.of(ref).fail(decisive=True)
    await one.shared.share()
    await other.shared.share()
    assert other.of(ref).state == "open"
    assert 0 < other.of(ref).seconds_left <= 2
    server = await find(hub_database, OPERATOR, str(ref.server_ref_id))
    assert server.circuit == "open"
    assert server.circuit_since is not None
    assert server.circuit_until is not None
    assert server.circuit_since < server.circuit_until
    one.of(ref).succeed()
    assert one.of(ref).state == "closed"


async def test_a_process_that_starts_later_learns_it_too(start: Start, ref: ServerRef) -> None:
    one = start()
    one.of(ref).fail(decisive=True)
    await one.shared.share()
    late = start()
    await late.shared.share()
    assert late.of(ref).is_open


async def test_an_answer_in_one_process_lets_the_next_call_of_the_others_find_out(
    start: Start, hub_database: Database, ref: ServerRef, time: list[float]
) -> None:
    one, other = start(), start()
    for _ in range(9):
        one.of(ref).fail()
    await one.shared.share()
    await other.shared.share()
    time[0] += REST_SECONDS
    other.of(ref).succeed()
    await other.shared.share()
    assert await shown(hub_database, ref) == "closed"
    assert one.of(ref).state == "open"
    await one.shared.share()
    assert one.of(ref).state == "half-open"


async def test_after_its_time_it_is_shown_as_half_open_without_a_write(
    start: Start, hub_database: Database, ref: ServerRef
) -> None:
    one = start()
    one.of(ref).fail(decisive=True)
    await one.shared.share()
    async with hub_database.transaction() as transaction:
        await transaction.run(b"UPDATE server_state SET circuit_until = now() - interval '1 second'")
    assert await shown(hub_database, ref) == "half-open"


async def test_a_process_that_has_had_an_answer_since_knows_better(
    start: Start, ref: ServerRef, time: list[float]
) -> None:
    one, other = start(), start()
    one.of(ref).fail(decisive=True)
    time[0] += 10
    other.of(ref).succeed()
    await one.shared.share()
    await other.shared.share()
    assert other.of(ref).state == "closed"


async def test_a_dead_server_that_is_called_in_a_loop_is_not_written_in_a_loop(
    start: Start, hub_database: Database, time: list[float]
) -> None:
    ref = ServerRef("user", uuid4())
    async with hub_database.transaction() as transaction:
        await transaction.run(ADD_OWN, id=ref.server_ref_id, user_id=uuid4())
    one = start()
    written = []
    for _ in range(600):
        if not one.of(ref).seconds_left:
            one.of(ref).fail()
        await one.shared.share()
        written.append(await version(hub_database))
        time[0] += 0.1
    changes = sum(before != after for before, after in pairwise(written))
    assert changes <= 7, "a minute of calls without a pause"


async def test_one_that_opens_and_closes_all_the_time_is_written_once_in_a_while(
    start: Start, hub_database: Database, ref: ServerRef, time: list[float]
) -> None:
    one = start()
    written = []
    for number in range(200):
        one.of(ref).fail(decisive=True) if number % 2 else one.of(ref).succeed()
        await one.shared.share()
        written.append(await version(hub_database))
        time[0] += 0.1
    assert sum(before != after for before, after in pairwise(written)) <= 20 / REST_SECONDS + 1
    one.of(ref).succeed()
    time[0] += REST_SECONDS
    await one.shared.share()
    assert await shown(hub_database, ref) == "closed"


async def test_what_could_not_be_written_is_written_later(
    database: HubDatabase, start: Start, ref: ServerRef, time: list[float]
) -> None:
    async with CutDatabase(database.app_url, name="test") as cut:
        circuits = Circuits(lambda: time[0], lambda: 1.0)
        shared = SharedCircuits(cut, circuits, lambda: time[0])
        circuits.of(ref).fail(decisive=True)
        cut.cut = True
        with pytest.raises(DatabaseUnavailable):
            await shared.share()
        cut.cut = False
        time[0] += REST_SECONDS
        circuits.of(ref).fail(decisive=True)
        await shared.share()
        other = start()
        await other.shared.share()
        assert other.of(ref).is_open


async def test_a_server_that_was_removed_is_nobodys_trouble(
    start: Start, hub_database: Database, ref: ServerRef
) -> None:
    one, other = start(), start()
    one.of(ref).fail(decisive=True)
    await one.shared.share()
    await other.shared.share()
    async with hub_database.transaction() as transaction:
        await transaction.run(b"DELETE FROM system_servers")
    one.of(ref).fail(decisive=True)
    await one.shared.share()
    await other.shared.share()
    assert other.of(ref).state == "half-open"
