"""The direct lane beside a database that is away, and processes of it that are killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.execution import direct as direct_module
from nexus_hub.execution import direct_rows
from nexus_hub.execution.direct import Handed
from nexus_hub.json_object import JsonObject
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.orchestration.mirror import Mirror
from nexus_hub.orchestration.rescuer import Rescuer
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import CallsUnrecorded, TelemetryEvent
from tests.fixtures.direct import Direct, until
from tests.fixtures.jobs import Table
from tests.fixtures.library import CutDatabase
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect

LONG = 600
PROGRAM = """
import asyncio, sys
from uuid import UUID
from pathlib import Path
from nexus_hub.db.pool import Database
from nexus_hub.execution.direct import DirectCall, DirectLane, Handed
from nexus_hub.execution.steps import Execution
from nexus_hub.models import ServerRef
from nexus_hub.rate_limit.limiter import Limiter
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import ToolCall
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.sealing import Vault
from tests.fixtures.library import looping

async def main(url, journal, tool, handle_seconds):
    async with Database(url, name="test") as database, Connections(log_dir=None) as connections:
        vault = Vault(FixedKeyring(Keyring(VaultKey.generate())))
        servers = Servers(database, vault, connections, allow_private=True)
        execution = Execution(
            database, servers, connections, Limiter(database), 10**6, lease_seconds=1, heartbeat_seconds=0.2
        )
        from tests.fixtures.upstreams import own_server
        server = await servers.register("srv", own_server("journaled", "--journal", journal))
        async with looping(execution):
            lane = DirectLane(execution, None, row_seconds=0)
            request = ToolCall(tool, {"tag": "k", "seconds": 600})
            call = DirectCall(ServerRef("system", server.id), request, None, "k", handle_seconds=float(handle_seconds))
            print(await lane.call(call), flush=True)
            await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


class CountedDatabase(CutDatabase):
    """A database that can be cut off, and counts what it is asked."""

    transactions = 0

    @asynccontextmanager
    async def transaction(
        self, principal: Principal = OPERATOR, *, bounded: bool = False
    ) -> AsyncIterator[Transaction]:
        self.transactions += 1
        async with super().transaction(principal, bounded=bounded) as transaction:
            yield transaction

    async def ask(self, query: bytes, row: type[Any], /, **params: object) -> Any:
        self.transactions += 1
        return await super().ask(query, row, **params)


@pytest_asyncio.fixture
async def hub_database(database: HubDatabase) -> AsyncIterator[Database]:
    async with CountedDatabase(database.app_url, name="test") as pool:
        yield pool


@pytest.fixture
def cuttable(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> CountedDatabase:
    """The database of the lane, which is asked again at once when it was away."""
    monkeypatch.setattr(direct_rows, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(direct_module, "HAND_OVER_PAUSE_SECONDS", 0.05)
    assert isinstance(direct.library.database, CountedDatabase)
    return direct.library.database


async def test_a_call_waits_for_no_transaction(direct: Direct, cuttable: CountedDatabase) -> None:
    await direct.call()
    await direct.row()
    counted = cuttable.transactions
    await direct.call()
    assert cuttable.transactions == counted
    await direct.rows(2)


async def test_calls_at_the_same_time_are_written_together(direct: Direct, cuttable: CountedDatabase) -> None:
    await direct.call()
    await direct.lane.close()
    before = cuttable.transactions
    await asyncio.gather(*(direct.call() for _ in range(50)))
    await direct.lane.close()
    assert cuttable.transactions - before < 10
    assert len(await direct.rows(51)) == 51


async def test_a_server_with_a_limit_costs_a_transaction_of_each_call(
    direct: Direct, cuttable: CountedDatabase, table: Table
) -> None:
    await direct.call()
    await table.connection.execute("UPDATE system_servers SET limit_per_minute = 100")
    direct.lane.forget(None)
    await direct.call()
    await direct.rows(2)
    counted = cuttable.transactions
    await direct.call()
    assert cuttable.transactions == counted + 1
    assert Limits(100)


async def test_while_the_database_is_away_calls_are_answered_and_their_rows_come_later(
    direct: Direct, cuttable: CountedDatabase
) -> None:
    await direct.call(tag="before")
    await direct.row()
    cuttable.cut = True
    answers = [await direct.call(tag="away")]
    direct.lane._row_seconds = 0
    answers.append(await direct.call(seconds=0.3, tag="away, slow"))
    assert all(isinstance(answer, JsonObject) for answer in answers)
    cuttable.cut = False
    rows = await direct.rows(3)
    assert [row["params"]["tag"] for row in rows] == ["before", "away", "away, slow"]
    assert all(row["started_at"] <= row["completed_at"] for row in rows)


async def test_a_call_is_not_handed_over_until_its_row_is_sure(direct: Direct, cuttable: CountedDatabase) -> None:
    await direct.call()
    await direct.row()
    cuttable.cut = True
    calling = asyncio.create_task(direct.call(seconds=LONG, handle_seconds=0.05))
    await direct.begun(2)
    await asyncio.sleep(0.3)
    assert not calling.done()
    cuttable.cut = False
    answer = await calling
    assert isinstance(answer, Handed)
    assert (await direct.row(having="handed_at IS NOT NULL"))["id"] == answer.job_id


async def test_a_row_whose_first_write_has_an_unknown_end_stands_there_once(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, insert = direct.lane._rows, direct.lane._rows._insert
    lost: list[object] = []

    async def losing(group: list[direct_rows.CallRow]) -> list[UUID]:
        written = await insert(group)
        if not lost:
            lost.append(group)
            raise DatabaseUnavailable
        return written

    monkeypatch.setattr(rows._begun, "_write", losing)
    direct.lane._row_seconds = 0
    await direct.call(seconds=0.4)
    row = await direct.row()
    assert lost
    assert row["status"] == "completed"


async def test_what_waits_for_the_database_is_bounded_and_the_rest_is_counted(
    direct: Direct, cuttable: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_rows, "MOST_ROWS", 3)
    monkeypatch.setattr(direct_rows, "MOST_BYTES", 6000)
    told: list[int] = []

    def hear(event: TelemetryEvent) -> None:
        if isinstance(event, CallsUnrecorded):
            told.append(event.calls)

    await direct.call(tag="first")
    await direct.row()
    cuttable.cut = True
    with subscribe(hear):
        for tag in ("a" * 1900, "b" * 1900, "c", "d", "e"):
            await direct.call(tag=tag)
        assert direct.lane._rows._bytes <= 6000
        cuttable.cut = False
        rows = await direct.rows(4)
        await until(lambda: told == [2])
    kept = {row["params"]["tag"][0]: (row["status"], row["error_code"]) for row in rows}
    assert kept == {
        "f": ("completed", None),
        "a": ("completed", None),
        "b": ("completed", "result-not-kept"),
        "c": ("completed", None),
    }


async def test_a_process_that_stops_while_the_database_is_away_waits_for_it_only_a_moment(
    direct: Direct, cuttable: CountedDatabase
) -> None:
    told: list[TelemetryEvent] = []
    await direct.call(tag="first")
    await direct.row()
    cuttable.cut = True
    await direct.call()
    with subscribe(told.append):
        await direct.lane.close()
    assert [event.calls for event in told if isinstance(event, CallsUnrecorded)] == [1]


@pytest.mark.parametrize(("tool", "status"), [("plain", "failed"), ("reading", "pending")])
@pytest.mark.parametrize("handle_seconds", ["0.1", "0"])
async def test_a_call_whose_process_is_killed_is_found_by_its_lease(
    direct: Direct, prefect: FakePrefect, table: Table, tool: str, status: str, handle_seconds: str
) -> None:
    await direct.library.servers.remove(OPERATOR, direct.ref)
    database = direct.library.database
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, database.url, str(direct.journal), tool, handle_seconds),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        row = await direct.row(having="status = 'running'")
        if handle_seconds != "0":
            assert str(row["id"]) in (await process.stdout.readline()).decode()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    rescuer = Rescuer(database, prefect, Mirror(database), lease_seconds=0)

    async def is_rescued() -> bool:
        return (await rescuer.rescue()).rescued == 1

    await until(is_rescued)
    after, lane, code = await table.get(row["id"], "status", "lane", "error_code")
    assert (after, lane) == (status, "durable" if status == "pending" else "direct")
    assert code == ("lease-expired" if status == "pending" else "outcome-unknown")
