"""Transactions of the pool when whoever runs them is cancelled."""

import asyncio
from contextlib import suppress

import pytest

from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from tests.fixtures.postgres import HubDatabase

PING = load("session")["ping"]
SCOPE = b"SELECT current_setting('nexus.scope', true) AS scope"


@pytest.mark.parametrize("steps", range(12))
async def test_a_transaction_keeps_its_scope_after_one_that_was_cancelled(database: HubDatabase, steps: int) -> None:
    """Cancelled after so many steps of the event loop. After a pause psycopg makes one where it makes none else."""
    async with Database(database.app_url, name="cancelled", max_size=1) as pool:
        await pool.ping()
        await asyncio.sleep(0.1)
        cancelled = asyncio.create_task(pool.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        async with pool.transaction() as transaction:
            await transaction.one(PING)
            assert await transaction.one(SCOPE) == {"scope": "service"}
