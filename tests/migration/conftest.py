"""What the tests of migrations share."""

from collections.abc import Iterator

import pytest

from tests.fixtures import run


@pytest.fixture(autouse=True)
def _without_roles_of_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """Roles belong to the whole server: nobody makes those that migrations grant rights to meanwhile."""
    if "empty_database" in request.fixturenames:  # sees to it itself
        yield
        return
    with run.together("roles"):
        yield
