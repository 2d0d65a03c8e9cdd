"""News of flow runs: no error with one of them keeps the worker from the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from deployments.worker import events
from nexus_hub.cancellation import cancel_and_wait


async def test_an_error_with_one_run_loses_no_event_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = uuid4(), uuid4()
    seen = asyncio.Queue[UUID]()

    @asynccontextmanager
    async def subscribe(**_: Any) -> AsyncIterator[AsyncIterator[Any]]:
        async def tell() -> AsyncIterator[Any]:
            for run in (first, second):
                yield SimpleNamespace(event="e", resource=SimpleNamespace(id=f"prefect.flow-run.{run}"))
            await asyncio.Event().wait()

        yield tell()

    async def handle(run: UUID) -> None:
        seen.put_nowait(run)
        if run == first:
            raise LookupError

    monkeypatch.setattr(events, "get_events_subscriber", subscribe)
    listening = asyncio.create_task(events.listen({"e": handle}))
    try:
        async with asyncio.timeout(30):
            assert [await seen.get(), await seen.get()] == [first, second]
    finally:
        await cancel_and_wait(listening)


async def test_asking_for_cancellations_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = uuid4()
    cancelled = asyncio.Queue[UUID]()
    answers: list[list[UUID] | Exception] = [RuntimeError("away"), [run, run], [run]]

    async def find(_: list[UUID]) -> list[UUID]:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def cancel(flow_run_id: UUID) -> None:
        cancelled.put_nowait(flow_run_id)
        raise LookupError

    monkeypatch.setattr(events, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(events, "_find_cancelled", find)
    asking = asyncio.create_task(events.poll_cancellations(lambda: [run], cancel))
    try:
        async with asyncio.timeout(30):
            assert [await cancelled.get() for _ in range(3)] == [run] * 3
    finally:
        await cancel_and_wait(asking)
