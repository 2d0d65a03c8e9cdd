"""Fixtures that all tests share, who runs which tests in what order, and an end to what hangs or is left behind."""

import os
import threading
from collections.abc import Iterator

import pytest

from tests.fixtures import run

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.cutting",
    "tests.fixtures.upstreams",
    "tests.fixtures.library",
    "tests.fixtures.served",
    "tests.fixtures.hub",
    "tests.fixtures.jobs",
]
SHARED_HUBS = ("fragile_hub", "hub", "spare_hub", "quiet_hub")
"""Fixtures of hubs that the tests of several files use, one after the other in one process."""
LONGEST_FIRST = (*SHARED_HUBS, "tests/faults", "tests/docs", "tests/acceptance", "tests/flows", "tests/defects")
"""Groups, or directories, whose tests wait a lot: begun early, they wait while others compute."""
SECONDS_TO_CLEAN_UP = 120
"""How long a test that has run out of time has until its process is ended."""


def pytest_configure(config: pytest.Config) -> None:
    """Have what this process starts ended with it."""
    if not config.option.collectonly:
        run.begin()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    run.end()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, in one process, what shares a hub or else a file, and begin with what takes longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)


def _group(item: pytest.Item) -> str:
    if item.get_closest_marker("stack"):
        needed = getattr(item, "fixturenames", ())
        for fixture in SHARED_HUBS:
            if fixture in needed:
                return fixture
    return item.nodeid.partition("::")[0]


def _rank(item: pytest.Item) -> int:
    group = _group(item)
    return next((rank for rank, name in enumerate(LONGEST_FIRST) if group.startswith(name)), len(LONGEST_FIRST))


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
