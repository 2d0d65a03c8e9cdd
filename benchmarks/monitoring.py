"""How long do the monitoring views take on 1,000,000 jobs, against the documented queries that count them?

The views take their numbers from the planner, and count the running and pending jobs only (5,000 here). Each is asked
20 times as the app's role, in turns; the table was analyzed before.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from benchmarks.many_jobs import filled, server
from benchmarks.report import machine, milliseconds, percentile, publish, table

ROWS, MEASURED = 1_000_000, 20
QUERIES = {
    "stats, counted": """
        SELECT COUNT(*) as total_jobs,
          COUNT(*) FILTER (WHERE status = 'completed') as completed,
          COUNT(*) FILTER (WHERE status = 'failed') as failed,
          COUNT(*) FILTER (WHERE status = 'pending') as pending,
          COUNT(*) FILTER (WHERE status = 'running') as running,
          COUNT(*) FILTER (WHERE created_at < now() - interval '7 days') as older_than_7_days,
          pg_size_pretty(pg_total_relation_size('job_results')) as table_size
        FROM job_results""",
    "`job_results_stats`": "SELECT * FROM job_results_stats",
    "alert, counted": """
        SELECT CASE WHEN COUNT(*) > 1000000 THEN 'ALERT: job_results table exceeds 1M rows' ELSE 'OK' END as status,
          COUNT(*) as row_count
        FROM job_results""",
    "`job_results_alert`": "SELECT * FROM job_results_alert",
}


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True, options="-c nexus.scope=service") as connection:
        yield connection


def main() -> None:
    """Fill a database, and ask by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in QUERIES}
    answers: dict[str, str] = {}
    with server() as url, filled(url, ROWS) as database, _connected(database.app_url) as connection:
        on = machine(url)
        for _ in range(MEASURED):
            for name, query in QUERIES.items():
                began = time.perf_counter()
                row = connection.execute(query.encode()).fetchone()
                seconds[name].append(time.perf_counter() - began)
                answers[name] = ", ".join(map(str, row or ()))
    rows = [
        [name, *(milliseconds(percentile(times, p)) for p in (50, 95)), answers[name]]
        for name, times in seconds.items()
    ]
    head = ["query", "p50", "p95", "last answer"]
    publish("monitoring", "\n\n".join([f"# {(__doc__ or '').strip()}", table(head, rows), on]) + "\n")


if __name__ == "__main__":
    main()
