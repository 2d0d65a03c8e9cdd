"""Fixtures that all tests share."""

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.upstreams",
    "tests.fixtures.library",
    "tests.fixtures.served",
    "tests.fixtures.hub",
]
