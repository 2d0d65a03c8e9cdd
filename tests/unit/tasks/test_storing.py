"""A run that somebody asked for in Prefect, while the hub's database takes no job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from flows import attempt
from nexus_hub.clock import RemoteClock
from nexus_hub.errors import DatabaseUnavailable, NotFound
from nexus_hub.jobs.requests import JobRequest
from tasks import jobs
from tasks.failures import TaskFailed

REQUEST = JobRequest("tool_invoke", "a__tool", {})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[datetime, str]]:
    """The waits of runs by Prefect's clock, which says that it is the year 2030."""
    kept: list[tuple[datetime, str]] = []
    clock = RemoteClock()
    clock.note(datetime(2030, 1, 1, tzinfo=UTC).timestamp())

    @asynccontextmanager
    async def available() -> AsyncIterator[Any]:
        yield SimpleNamespace(prefect_client=SimpleNamespace(clock=clock))

    async def wait(until: datetime, why: str) -> None:
        kept.append((until, why))

    monkeypatch.setattr(attempt, "flow_run", SimpleNamespace(id=str(uuid4())))
    monkeypatch.setattr(attempt, "available", available)
    monkeypatch.setattr(attempt, "wait", wait)
    monkeypatch.setattr(attempt, "write_line", lambda *_: None)
    return kept


def fail(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    async def store(*_: object) -> None:
        raise TaskFailed(code, "")

    monkeypatch.setattr(jobs, "store_job", store)


async def test_it_waits_for_the_database_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, waits: list[tuple[datetime, str]]
) -> None:
    fail(monkeypatch, DatabaseUnavailable.code)
    await attempt.run_attempt(None, 1, REQUEST, "")
    [(until, why)] = waits
    assert (until.year, why) == (2030, "database-unavailable")


async def test_what_is_refused_fails(monkeypatch: pytest.MonkeyPatch, waits: list[tuple[datetime, str]]) -> None:
    fail(monkeypatch, NotFound.code)
    state = await attempt.run_attempt(None, 1, REQUEST, "")
    assert state.is_failed()
    assert waits == []
