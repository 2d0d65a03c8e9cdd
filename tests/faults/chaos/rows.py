"""The rows of `job_results`, written and read past the hub, over one connection that is made again when it is lost."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.faults.chaos.plan import Planned

INSERT = """
    INSERT INTO job_results (id, user_id, job_type, server_id, tool_name, params, retry)
    VALUES (%(id)s, %(user_id)s, %(job_type)s, %(server_id)s, %(tool_name)s, %(params)s, %(retry)s)
    ON CONFLICT (id) DO NOTHING
"""
JOBS = "job_type IN ('tool_invoke', 'resource_fetch', 'prompt_execute')"
ENDED = "status IN ('completed', 'failed', 'cancelled')"
READ = f"SELECT to_jsonb(job) AS job FROM job_results AS job WHERE {JOBS} AND {{}}"
HUB_SESSIONS = """
    SELECT pid, application_name AS name FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'nexus-hub%%'
    ORDER BY backend_start, pid
"""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """A registered server, as a row names it."""

    id: str


class Rows:
    """One connection of the app's role, with the rights of the service."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._alone = asyncio.Lock()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = None

    async def insert(self, planned: Planned, user_id: str | None, server: Server) -> None:
        """Store a job as somebody does who knows nothing but the table; the same one twice is one."""
        values = {
            "id": planned.sql_id,
            "user_id": user_id,
            "job_type": planned.kind.job_type,
            "server_id": server.id,
            "tool_name": planned.kind.name,
            "params": json.dumps({"tag": planned.tag, "seconds": planned.seconds}),
            "retry": planned.kind.retry,
        }
        await self._execute(INSERT, values)

    async def all(self) -> dict[str, Row]:
        """All jobs by id, with all columns."""
        return _by_id(await self._execute(READ.format("true")))

    async def ended_besides(self, known: list[str]) -> dict[str, Row]:
        """The jobs that have ended, without those that are known."""
        return _by_id(await self._execute(READ.format(f"{ENDED} AND id <> ALL (%(known)s::uuid[])"), {"known": known}))

    async def unended(self) -> int:
        """How many jobs have not ended."""
        return len(await self._execute(f"SELECT FROM job_results WHERE {JOBS} AND NOT {ENDED}"))

    async def flow_run(self, job_id: str) -> str | None:
        """The flow run of a job that has not ended."""
        rows = await self._execute(
            f"SELECT flow_run_id::text AS run FROM job_results WHERE id = %(id)s AND NOT {ENDED}", {"id": job_id}
        )
        return rows[0]["run"] if rows else None

    async def made_for(self) -> dict[str, str]:
        """The shared runs that Prefect was told of, by their flow run."""
        rows = await self._execute(
            "SELECT id::text, flow_run_id::text AS run FROM shared_runs WHERE flow_run_id IS NOT NULL"
        )
        return {row["run"]: row["id"] for row in rows}

    async def hub_sessions(self) -> list[Row]:
        """The connections of the hub's processes: pid and name."""
        return await self._execute(HUB_SESSIONS)

    async def terminate(self, pids: list[int]) -> None:
        """End connections."""
        await self._execute("SELECT pg_terminate_backend(pid) FROM unnest(%(pids)s::int[]) AS pid", {"pids": pids})

    async def _execute(self, statement: str, values: Row | None = None) -> list[Row]:
        """Execute a statement that may be executed twice; a connection that died while it was idle is made anew."""
        async with self._alone:
            was_open = self._connection is not None
            try:
                return await self._executed(statement, values)
            except psycopg.OperationalError:
                if not was_open:
                    raise
                return await self._executed(statement, values)

    async def _executed(self, statement: str, values: Row | None) -> list[Row]:
        connection = self._connection or await self._connected()
        try:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description is not None else []
        except psycopg.OperationalError:
            await self.close()
            raise

    async def _connected(self) -> psycopg.AsyncConnection[Row]:
        connection = await psycopg.AsyncConnection[Row].connect(
            self._url, autocommit=True, row_factory=dict_row, application_name="chaos", connect_timeout=10
        )
        await connection.execute("SELECT set_config('nexus.scope', 'service', false)")
        self._connection = connection
        return connection


def _by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["job"]["id"]: row["job"] for row in rows}
