"""Runs of the flows that look after the hub, mirrored as rows of `job_results`: operators see them there."""

from typing import Any, Literal
from uuid import UUID

from nexus_hub.db.pool import Database, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.errors import RunCancelled
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.models import ServerRef

MIRROR = load("mirror")
Kind = Literal["cache_refresh", "key_rotation", "job_cleanup"]


class Mirror:
    """Writes the rows. An ended row does not change: a later attempt of the same flow run is a row of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, kind: Kind, params: dict[str, Any], ref: ServerRef | None = None) -> UUID:
        """Store a run that is about to be dispatched; its row's id."""
        row = {"job_type": kind, "params": json_parameter(params), **_server_columns(ref)}
        async with self._database.transaction() as transaction:
            return _id(await transaction.one(MIRROR["add_mirror"], **row))

    async def note_dispatch(self, job_id: UUID, flow_run_id: UUID) -> None:
        """Note which flow run it is, unless that has said so itself by now."""
        await self._run("dispatch_mirror", id=job_id, flow_run_id=flow_run_id)

    async def begin(
        self,
        kind: Kind,
        flow_run_id: UUID,
        params: dict[str, Any],
        *,
        job_id: UUID | None = None,
        ref: ServerRef | None = None,
    ) -> UUID:
        """Begin a running row: the one that this run left open, the one that was stored for it, or a new one; its id.

        Raises:
            RunCancelled: the stored one has ended before this run began.
        """
        run: dict[str, Any] = {"job_type": kind, "flow_run_id": flow_run_id}
        known = run | {"params": json_parameter(params)}
        async with self._database.transaction() as transaction:
            row = await transaction.one(MIRROR["resume_mirror"], **run)
            if row is None and job_id is not None:
                row = await transaction.one(MIRROR["begin_mirror"], id=job_id, **known)
                if row is None and await transaction.one(MIRROR["ended_mirror"], id=job_id, **run):
                    raise RunCancelled
            if row is None:
                row = await transaction.one(MIRROR["insert_mirror"], **known, **_server_columns(ref))
        return _id(row)

    async def note(self, job_id: UUID, progress: dict[str, Any]) -> None:
        """Note a sign of life, and how far the run has come.

        Raises:
            RunCancelled: the row has ended.
        """
        if not await self._run("note_mirror", id=job_id, progress=json_parameter(progress)):
            raise RunCancelled

    async def beat(self, job_id: UUID) -> None:
        """Note a sign of life."""
        await self._run("beat_mirror", id=job_id)

    async def complete(
        self, job_id: UUID, result: dict[str, Any], code: str | None = None, error: str | None = None
    ) -> None:
        """End a run with what it has done; with a code it counts as failed all the same."""
        status: Literal["completed", "failed"] = "failed" if code else "completed"
        await self._end(job_id, status, result=json_parameter(result), error_code=code, error=error)

    async def fail(self, job_id: UUID, code: str, error: str) -> None:
        """End a run that failed; the error holds nothing secret."""
        await self._end(job_id, "failed", error_code=code, error=error)

    async def cancel(self, job_id: UUID) -> None:
        """End a run that was cancelled."""
        await self._end(job_id, "cancelled", error_code="cancelled")

    async def abandon(self, flow_run_id: UUID, status: Literal["failed", "cancelled"], code: str, error: str) -> int:
        """End whatever a flow run left open; the number of rows."""
        known = {"flow_run_id": flow_run_id, "status": status, "error_code": code, "error": error}
        async with self._database.transaction() as transaction:
            rows = await transaction.all(MIRROR["abandon_mirror"], **known)
        return tell_closed(rows, status, code)

    async def find_silent(self, grace_seconds: float, limit: int) -> list[tuple[UUID, UUID]]:
        """Find open rows without a sign of life for so long: the row's id, and its flow run's."""
        async with self._database.transaction() as transaction:
            rows = await transaction.all(MIRROR["silent_mirrors"], grace=grace_seconds, limit=limit)
        return [(row["id"], row["flow_run_id"]) for row in rows]

    async def _end(self, job_id: UUID, status: Literal["completed", "failed", "cancelled"], **columns: object) -> None:
        end: dict[str, object] = {"result": None, "error": None, "error_code": None} | columns
        async with self._database.transaction() as transaction:
            rows = await transaction.all(MIRROR["end_mirror"], id=job_id, status=status, **end)
        code = end["error_code"]
        tell_closed(rows, status, None if code is None else str(code))

    async def _run(self, query: str, **params: object) -> int:
        async with self._database.transaction() as transaction:
            return await transaction.run(MIRROR[query], **params)


def _server_columns(ref: ServerRef | None) -> dict[str, Any]:
    return {"server_type": ref.server_type if ref else None, "server_ref_id": ref.server_ref_id if ref else None}


def _id(row: dict[str, Any] | None) -> UUID:
    assert row is not None  # noqa: S101 - INSERT ... RETURNING gives a row or raises
    job_id: UUID = row["id"]
    return job_id
