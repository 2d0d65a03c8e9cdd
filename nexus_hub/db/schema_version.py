"""Version of a database's schema: the number of its newest migration, beside the one that this release needs."""

from dataclasses import dataclass

import psycopg

from nexus_hub.db.migrate import SQL, known_migrations
from nexus_hub.db.pool import Database

NONE_YET = psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege
"""Errors of a database that was never migrated, or whose migration has not let the app's role in."""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """Newest migration that a database has; 0 for none. A newer one than is needed does no harm."""

    found: int
    needed: int

    @property
    def is_too_old(self) -> bool:
        """True if the release needs migrations that were not applied."""
        return self.found < self.needed

    @property
    def is_newer(self) -> bool:
        """True if a later release has migrated the database."""
        return self.found > self.needed


async def read_schema_version(database: Database) -> SchemaVersion:
    """Read the version of a database's schema.

    Raises:
        DatabaseUnavailable: it gives no answer.
    """
    try:
        found = await database.ask(SQL["newest"], int)
    except NONE_YET:
        found = 0
    return SchemaVersion(found, known_migrations()[-1].version)
