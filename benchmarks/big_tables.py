"""How much longer do the queries of a job's path take on 1,000,000 ended jobs, and while a transaction is held open?

Three databases on one server, asked in turns:

- floor: 10,000 ended jobs;
- large: 1,000,000 ended jobs;
- held: 1,000,000 ended jobs, then 25,000 jobs more, each stored, claimed, sent and ended, while a transaction sees the
  table as it was before them: none of their 75,000 dead versions can be removed.

Each round stores a job of a user, claims it, marks it as sent, ends it and reads it, then looks for jobs as requests
and as the hub's rounds do. Of the 25,000 jobs a quarter are the same user's.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg

from benchmarks.many_jobs import HEAVY_USER, filled, server
from benchmarks.report import machine, percentile, publish, table
from nexus_hub.db.pool import Database, json_text
from nexus_hub.db.queries import load
from nexus_hub.jobs import store
from nexus_hub.jobs.lists import list_jobs
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from tests.fixtures.postgres import HubDatabase

FEW, MANY, LIVES, ROUNDS = 10_000, 1_000_000, 25_000, 100
FLOOR, LARGE, HELD = "floor", "large", "held"
USER, REF = Principal(UUID(HEAVY_USER)), ServerRef("system", uuid4())
LIVED = (
    f"""
    INSERT INTO job_results (user_id, job_type, server_id, tool_name, params, flow_run_id, dispatched_at,
                             request_digest)
    SELECT CASE WHEN n % 4 = 0 THEN '{HEAVY_USER}'
                ELSE '00000000-0000-4000-8000-' || lpad((n % 900)::text, 12, '0') END::uuid,
           'tool_invoke', 'hub', 'x', '{{}}', gen_random_uuid(), now(), 'held' FROM generate_series(1, {LIVES}) AS n""",
    """
    UPDATE job_results
    SET status = 'running', attempt = 1, claim_id = gen_random_uuid(), started_at = now(), heartbeat_at = now(),
        lease_expires_at = now() + interval '30 s'
    WHERE status = 'pending' AND request_digest = 'held'""",
    "UPDATE job_results SET sent_at = now() WHERE status = 'running' AND request_digest = 'held'",
    """
    UPDATE job_results SET status = 'completed', result = '{}'
    WHERE status = 'running' AND request_digest = 'held'""",
    "ANALYZE job_results",
)
LOOKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "look: idempotency key": ("jobs", "jobs_of_keys", {"idempotency_keys": ["key 3"], "user_id": USER.user_id}),
    "look: open jobs, for a stream": ("jobs", "unended_jobs", {"all_users": True, "user_id": None, "limit": 1000}),
    "look: a user's open jobs": ("jobs", "unended_jobs", {"all_users": False, "user_id": USER.user_id, "limit": 1000}),
    "round: leases that ran out": ("jobs", "rescue_expired_leases", {"lease_seconds": 30, "limit": 200}),
    "round: lost runs": ("jobs", "lost_runs", {"limit": 200}),
    "round: not dispatched": ("jobs", "undispatched_jobs", {"job_type": "tool_invoke", "grace": 2, "limit": 200}),
    "round: not claimed": ("jobs", "unclaimed_jobs", {"grace": 60, "limit": 200, "after_at": None, "after_id": None}),
    "round: silent mirrors": ("mirror", "silent_mirrors", {"grace": 60, "limit": 200}),
    "monitoring": ("monitoring", "job_results_stats", {}),
}


@dataclass
class Place:
    """One of the databases, and the seconds that each query took there."""

    database: Database
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def time(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Take one step, and note how long it took."""
        began = time.perf_counter()
        done = await work()
        self.seconds[name].append(time.perf_counter() - began)
        return done

    async def round(self) -> None:
        """Take a job along its path, then look for jobs."""
        began = time.perf_counter()
        job_id = await self.time("store", self._store)
        claim = {"id": job_id, "claim_id": uuid4(), "attempt": 1, "flow_run_id": uuid4(), "lease_seconds": 30}
        await self.time("claim", lambda: self._run("jobs", "claim_job", **claim))
        held = {"ids": [job_id], "claim_ids": [claim["claim_id"]]}
        await self.time("mark as sent", lambda: self._run("jobs", "mark_sent", **held))
        end = {"number": 1, "id": str(job_id), "claim_id": str(claim["claim_id"]), "status": "completed"}
        ended = {"ends": json.dumps([end]), "results": [json_text(b"{}")], "storable": [None]}
        await self.time("end", lambda: self._run("jobs", "finish_jobs", **ended))
        assert (await self.time("read", lambda: store.get(self.database, USER, job_id)))["status"] == "completed"
        self.seconds["a job's path, in all"].append(time.perf_counter() - began)
        await self.time("look: list", lambda: list_jobs(self.database, USER))
        for name, (file, query, params) in LOOKS.items():
            await self.time(name, partial(self._run, file, query, **params))

    async def _store(self) -> UUID:
        request = JobRequest("tool_invoke", "hub__x", {})
        job, _ = await store.add(self.database, USER, request, REF, "x", most_open=2000, flow_run_id=uuid4())
        job_id: UUID = job["id"]
        return job_id

    async def _run(self, file: str, query: str, **params: object) -> int:
        async with self.database.transaction() as transaction:
            return await transaction.run(load(file)[query], **params)


def live(held: HubDatabase) -> None:
    """Let many jobs pass."""
    with psycopg.connect(held.admin_url, autocommit=True) as admin:
        for statement in LIVED:
            admin.execute(statement.encode())


def dead_versions(held: HubDatabase) -> int:
    """How many versions of jobs can't be removed, by the server's count."""
    with psycopg.connect(held.admin_url, autocommit=True) as admin:
        query = b"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'job_results'"
        return int((admin.execute(query).fetchone() or (0,))[0])


async def measured(databases: dict[str, HubDatabase]) -> dict[str, Place]:
    """Ask all databases in turns."""
    async with AsyncExitStack() as stack:
        places = {
            name: Place(await stack.enter_async_context(Database(one.app_url, name="benchmark", max_size=1)))
            for name, one in databases.items()
        }
        for number in range(ROUNDS + 10):
            for place in places.values():
                await place.round()
                if number == 9:  # statements are prepared, pages are read
                    place.seconds.clear()
        return places


def _report(places: dict[str, Place], dead: int, on: str) -> str:
    rows = []
    for name in places[FLOOR].seconds:
        medians = {place: percentile(places[place].seconds[name], 50) for place in places}
        ratios = [medians[place] / medians[FLOOR] for place in (LARGE, HELD)]
        rows.append([name, *(f"{1000 * one:.2f} ms" for one in medians.values()), *(f"{one:.2f}x" for one in ratios)])
    head = ["query", *places, f"{LARGE} / {FLOOR}", f"{HELD} / {FLOOR}"]
    lines = f"{ROUNDS} rounds, medians, each query with its transaction; {dead:,} dead versions, by the server's count."
    return "\n\n".join([f"# {(__doc__ or '').strip()}", lines, table(head, rows), on]) + "\n"


def main() -> None:
    """Fill the databases, hold one up, and measure."""
    with ExitStack() as stack:
        url = stack.enter_context(server())
        on = machine(url)
        sizes = {FLOOR: FEW, LARGE: MANY, HELD: MANY}
        databases = {name: stack.enter_context(filled(url, rows, live=False)) for name, rows in sizes.items()}
        holder = stack.enter_context(psycopg.connect(databases[HELD].admin_url))
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("SELECT FROM job_results LIMIT 1")
        live(databases[HELD])
        places = asyncio.run(measured(databases))
        holder.rollback()
        publish("big_tables", _report(places, dead_versions(databases[HELD]), on))


if __name__ == "__main__":
    main()
