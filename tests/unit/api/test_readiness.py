"""`/readyz` while the database takes the connection and says nothing."""

import asyncio
from typing import Any, cast

import pytest

from nexus_hub.api import readiness
from nexus_hub.api.readiness import Readiness
from nexus_hub.db.pool import Database
from nexus_hub.db.schema_version import SchemaVersion
from nexus_hub.orchestration.prefect_client import PrefectClient
from nexus_hub.orchestration.scheduler_watch import SchedulerWatch


async def test_a_probe_does_not_wait_until_a_database_that_hangs_has_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = asyncio.Event()

    async def hang(_database: Database) -> SchemaVersion:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await answered.wait()  # as psycopg waits for a server to cancel a query
            raise
        raise AssertionError

    monkeypatch.setattr(readiness, "read_schema_version", hang)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    watched = Readiness(cast("Any", None), SchedulerWatch(PrefectClient("http://127.0.0.1:1/api", None)))
    answer = await watched.answer(is_draining=False)
    assert answer.status_code == 503
    assert b"database-unavailable" in bytes(answer.body)
    answered.set()
