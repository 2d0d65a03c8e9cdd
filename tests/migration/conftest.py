"""Connections to a test's database, by role."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.job_days import SERVICE, Connection
from tests.fixtures.postgres import HubDatabase


@pytest.fixture
def owner(database: HubDatabase) -> Iterator[Connection]:
    """The owner, whom row security does not touch: what holds for it holds for all."""
    with psycopg.connect(database.owner_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def service(database: HubDatabase) -> Iterator[Connection]:
    """The app's role, as the hub's own work uses it: it sees the rows of all."""
    with psycopg.connect(database.app_url, autocommit=True, row_factory=dict_row, options=SERVICE) as connection:
        yield connection
