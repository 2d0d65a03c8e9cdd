"""Watches the rows while everything goes on: how each one looked when it was first seen ended."""

import asyncio
import time
from contextlib import suppress

import psycopg

from tests.faults.chaos.rows import Row, Rows

LOOK_SECONDS = 1.0


class Observer:
    """Looks once a second; what it can't see during an outage it sees afterwards."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.first_seen: dict[str, Row] = {}
        """Of each ended job all columns, as they were when it was first seen to have ended."""
        self.last_end = 0.0
        """When (monotonic) an end was seen last."""

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            with suppress(psycopg.Error):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Take in what has ended since the last look."""
        new = await self._rows.ended_besides(list(self.first_seen))
        if new:
            self.first_seen |= new
            self.last_end = time.monotonic()

    async def until_all_ended(self, patience: float) -> None:
        """Wait for the end of all jobs, or until none has ended for so many seconds."""
        began = time.monotonic()
        while True:
            with suppress(psycopg.Error):
                if await self._rows.unended() == 0:
                    await self.look()
                    return
            if time.monotonic() > max(began, self.last_end) + patience:
                return
            await asyncio.sleep(LOOK_SECONDS)
