"""The seed's database beside ours: a test replays the same statements on both."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.defects.replay import SEED, Connection
from tests.fixtures.postgres import HubDatabase

_APPLIED = ("tables", "vault_migration", "pg_net", "jobs", "cache", "rate_limits", "rotation", "cleanup")


@pytest.fixture
def seed_database(empty_database: HubDatabase) -> HubDatabase:
    """A database of the seed's making, by a superuser, as its migrations are run there."""
    with psycopg.connect(empty_database.admin_url) as connection:
        for block in _APPLIED:
            connection.execute(SEED[block])
    return empty_database


@pytest.fixture
def seed(seed_database: HubDatabase) -> Iterator[Connection]:
    """The seed's database, as its service key reaches it: with all rights."""
    with psycopg.connect(seed_database.admin_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def ours(database: HubDatabase) -> Iterator[Connection]:
    """The hub's database, as the hub reaches it: the app's role in the scope of the service."""
    with psycopg.connect(
        database.app_url, autocommit=True, row_factory=dict_row, options="-c nexus.scope=service"
    ) as connection:
        yield connection
