"""Statements for both databases: the seed's, and what a test asks of either."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from nexus_hub.db.queries import blocks

SEED = blocks(Path(__file__).with_name("seed.sql").read_text())
"""The blocks of seed.sql by their names."""
Connection = psycopg.Connection[dict[str, Any]]


def one(connection: Connection, query: str, *params: object) -> dict[str, Any]:
    """The only row of a query's result."""
    (row,) = connection.execute(query.encode(), params or None).fetchall()
    return row


def count(connection: Connection, query: str, *params: object) -> int:
    """How many rows a statement touches or gives."""
    return connection.execute(query.encode(), params or None).rowcount


def contents(url: str) -> str:
    """All rows of all tables of a database, as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        query = sql.SQL("SELECT t::text FROM {} AS t")
        rows = (connection.execute(query.format(sql.Identifier(name))).fetchall() for (name,) in names)
        return "\n".join(f"{name}\n{found}" for (name,), found in zip(names, rows, strict=True))
