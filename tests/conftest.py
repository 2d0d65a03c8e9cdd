"""Fixtures that all tests share, the order in which several processes take the files, and an end to what hangs."""

import os
import threading
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.upstreams",
    "tests.fixtures.library",
    "tests.fixtures.served",
    "tests.fixtures.hub",
    "tests.fixtures.jobs",
]
LONGEST_FIRST = ("faults", "acceptance", "docs", "flows", "defects")
"""Directories whose tests wait a lot: begun early, they wait while others compute."""
SECONDS_TO_CLEAN_UP = 120
"""How long a test that has run out of time has until its process is ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    directory = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(directory) if directory in LONGEST_FIRST else len(LONGEST_FIRST)


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
