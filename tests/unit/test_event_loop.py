"""Processes that name their event loop's library once."""

import asyncio
from contextvars import copy_context

import anyio
import anyio.to_thread
import pytest
import sniffio
from fastapi import FastAPI

from nexus_hub.api import serving
from nexus_hub.event_loop import assume_asyncio


def assumed() -> str | None:
    """Give what sniffio takes for granted here, without a look at what runs."""
    return sniffio.current_async_library_cvar.get()


def test_tasks_and_their_tasks_inherit_it() -> None:
    async def run() -> list[str | None]:
        return [assumed(), await asyncio.create_task(inner())]

    async def inner() -> str | None:
        return assumed()

    def start() -> list[str | None]:
        assume_asyncio()
        return asyncio.run(run())

    assert copy_context().run(start) == ["asyncio", "asyncio"]
    assert assumed() is None, "the context of the caller is its own"


def test_a_thread_of_anyio_can_start_a_loop_of_its_own() -> None:
    async def nothing() -> str:
        return "ran"

    def start() -> str:
        assume_asyncio()
        return asyncio.run(anyio.to_thread.run_sync(anyio.run, nothing))

    assert copy_context().run(start) == "ran"


def test_the_api_serves_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def run(server: serving.Server) -> None:
        server.started = True
        seen.append(assumed())

    monkeypatch.setattr(serving.Server, "run", run)
    copy_context().run(serving.serve, FastAPI(), "127.0.0.1", 0, serving.DEFAULT_LIMITS)
    assert seen == ["asyncio"]
