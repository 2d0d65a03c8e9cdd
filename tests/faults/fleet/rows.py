"""The rows of a fleet's jobs since some moment, read over a connection that ends when its peer is silent."""

from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from nexus_hub.db.pool import KEEP_ALIVE
from tests.faults.chaos import rows as chaos_rows
from tests.faults.chaos.rows import Row

SINCE = "created_at >= %(since)s::timestamptz"
SILENCE = KEEP_ALIVE | {"tcp_user_timeout": 10_000, "connect_timeout": 5}


class Rows(chaos_rows.Rows):
    """One connection of the app's role, for the jobs that were made since `since`."""

    since = "-infinity"

    async def begin(self) -> Self:
        """Leave alone all jobs that there are."""
        self.since = str((await self._execute("SELECT clock_timestamp()::text AS now"))[0]["now"])
        return self

    async def all(self) -> dict[str, Row]:
        return await self._read("true")

    async def ended_besides(self, known: list[str]) -> dict[str, Row]:
        return await self._read(f"{chaos_rows.ENDED} AND id <> ALL (%(known)s::uuid[])", known=known)

    async def unended(self) -> int:
        query = f"SELECT FROM job_results WHERE {chaos_rows.JOBS} AND {SINCE} AND NOT {chaos_rows.ENDED}"
        return len(await self._execute(query, {"since": self.since}))

    async def tags(self) -> set[str]:
        """The tags of all jobs."""
        query = f"SELECT DISTINCT params ->> 'tag' AS tag FROM job_results WHERE {chaos_rows.JOBS} AND {SINCE}"
        return {row["tag"] for row in await self._execute(query, {"since": self.since})}

    async def keys(self) -> set[str]:
        """The idempotency keys of all jobs that have one."""
        query = f"SELECT idempotency_key AS key FROM job_results WHERE {chaos_rows.JOBS} AND {SINCE}"
        return {row["key"] for row in await self._execute(query, {"since": self.since})}

    async def _read(self, condition: str, **values: Any) -> dict[str, Row]:
        query = chaos_rows.READ.format(f"{SINCE} AND {condition}")
        return {row["job"]["id"]: row["job"] for row in await self._execute(query, {"since": self.since, **values})}

    async def _connected(self) -> psycopg.AsyncConnection[Row]:
        connection = await psycopg.AsyncConnection[Row].connect(
            self._url, autocommit=True, row_factory=dict_row, application_name="matrix", **SILENCE
        )
        await connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        self._connection = connection
        return connection
