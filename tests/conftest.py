"""Fixtures that all tests share, and the order in which several processes take the tests."""

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture: the tests of the shared hub, else those of a file."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)


def _group(item: pytest.Item) -> str:
    """The unit tests have hubs of their own that are played."""
    shares_hub = "hub" in getattr(item, "fixturenames", ()) and "unit" not in item.path.parts
    return "hub" if shares_hub else str(item.path)


def _rank(item: pytest.Item) -> int:
    if _group(item) == "hub":
        return 0
    directory = item.nodeid.split("/")[1]
    return 1 + LONGEST_FIRST.index(directory) if directory in LONGEST_FIRST else len(LONGEST_FIRST) + 1
