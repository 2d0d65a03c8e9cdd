"""Fixtures that all tests share, who runs which tests in what order, and an end to what hangs or is left behind."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from anyio._backends._asyncio import WorkerThread

from tests.fixtures import groups, run

pytest_plugins = [
    "tests.fixtures.traces",
    "tests.fixtures.postgres",
    "tests.fixtures.cutting",
    "tests.fixtures.upstreams",
    "tests.fixtures.careless",
    "tests.fixtures.library",
    "tests.fixtures.direct",
    "tests.fixtures.served",
    "tests.fixtures.mcp_place",
    "tests.fixtures.tasked",
    "tests.fixtures.hub",
    "tests.fixtures.round_robin",
    "tests.fixtures.jobs",
    "tests.fixtures.console",
    "tests.fixtures.oidc",
]
SECONDS_TO_CLEAN_UP = 120
"""How long a test that has run out of time has until its process is ended."""


def pytest_configure(config: pytest.Config) -> None:
    """Have what this process starts ended with it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a script has started in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.option.collectonly:
        run.begin()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    run.end()
    for thread in threading.enumerate():
        if isinstance(thread, WorkerThread):  # its loop was interrupted, and the process would wait for it for ever
            thread.queue.put_nowait(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest; under xdist, say which tests belong to one process."""
    items.sort(key=groups.rank_of)
    if hasattr(config, "workerinput"):
        groups.write(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.GroupScheduling:
    """Keep together, in one process, what shares a hub or else a file."""
    return groups.GroupScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End what a group of tests shares with the last of them."""
    yield
    if nextitem is None or groups.group_of(nextitem) != groups.group_of(item):
        groups.end(groups.group_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let no test hold up the run: it fails at its time-out, and if it can't be cleaned up then, its process ends."""
    chosen = item.config.getoption("--timeout")
    limit = float(item.config.getini("timeout")) if chosen is None else chosen
    if not limit:
        return (yield)
    end = threading.Timer(limit + SECONDS_TO_CLEAN_UP, os._exit, (1,))
    end.daemon = True
    end.start()
    try:
        return (yield)
    finally:
        end.cancel()
