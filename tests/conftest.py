"""Fixtures that all tests share, and the order in which several processes take the files."""

import pytest

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.upstreams",
    "tests.fixtures.library",
    "tests.fixtures.served",
    "tests.fixtures.hub",
]
LONGEST_FIRST = ("faults", "acceptance", "docs", "flows", "defects")
"""Directories whose tests wait a lot: begun early, they wait while others compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    directory = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(directory) if directory in LONGEST_FIRST else len(LONGEST_FIRST)
