"""Times at which tokens were used last: written down beside the calls, at most once a minute for each token."""

import asyncio
from contextlib import suppress
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import HubError

USERS = load("users")
USED_SECONDS = 60.0
"""A token that is used is written down once in so many seconds."""


class LastUses:
    """Collects tokens that were used, and writes down all that came together at once.

    What can't be written is left out: a token in use comes again soon.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: set[UUID] = set()
        self._writing: asyncio.Task[None] | None = None

    def note(self, token_id: UUID) -> None:
        """Note that a token is used."""
        self._ids.add(token_id)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write no more."""
        if self._writing is not None:
            await cancel_and_wait(self._writing)

    async def _write(self) -> None:
        while self._ids:
            ids, self._ids = sorted(self._ids), set()
            with suppress(HubError):
                async with self._database.transaction() as transaction:
                    await transaction.run(USERS["note_tokens_used"], ids=ids, used_seconds=USED_SECONDS)
