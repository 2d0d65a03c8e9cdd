"""Find what a migration takes from the previous release, which goes on beside it: by the catalogs before and after."""

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

RELATIONS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
"""
COLUMNS = """
    SELECT relname, attname, format_type(atttypid, atttypmod),
           relkind IN ('r', 'p') AND attnotnull AND NOT atthasdef AND attidentity = ''
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND attnum > 0 AND NOT attisdropped
"""
FUNCTIONS = """
    SELECT proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
"""
RIGHTS = """
    SELECT relname, privilege_type FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND grantee = 'nexus_app'::regrole
    UNION ALL
    SELECT proname || '()', privilege_type FROM pg_proc, aclexplode(proacl)
    WHERE pronamespace = 'public'::regnamespace AND grantee = 'nexus_app'::regrole
"""
UNIQUE = """
    SELECT class.relname, regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')
    FROM pg_index JOIN pg_class AS class ON class.oid = indrelid
    WHERE indisunique AND class.relnamespace = 'public'::regnamespace
"""
CONSTRAINTS = """
    SELECT relname, pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE contype IN ('c', 'f', 'x') AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Schema:
    """A database as code sees it."""

    relations: frozenset[str]
    offers: frozenset[str]
    """Statements may count on these."""
    demands: frozenset[tuple[str, str]]
    """A relation, and what it demands of whoever writes to it."""


def read(connection: Connection) -> Schema:
    """Read the schema `public`."""
    offers, demands = set[str](), set[tuple[str, str]]()
    for table, column, kind, is_required in connection.execute(COLUMNS):
        offers.add(f"column {table}.{column} {kind}")
        if is_required:
            demands.add((table, f"value {table}.{column}"))
    for name, arguments, result in connection.execute(FUNCTIONS):
        offers.add(f"function {name}({arguments}) {result}")
    for name, right in connection.execute(RIGHTS):
        offers.add(f"right {right} {name}")
    for table, target in connection.execute(UNIQUE):
        offers.add(f"unique {table} {target}")  # ON CONFLICT names it
        demands.add((table, f"unique {table} {target}"))
    for table, definition in connection.execute(CONSTRAINTS):
        demands.add((table, f"constraint {table} {definition}"))
    relations = frozenset(name for (name,) in connection.execute(RELATIONS))
    return Schema(relations, frozenset(offers), frozenset(demands))


def broken(before: Schema, after: Schema) -> set[str]:
    """What code that was made for the schema before may fail by: what it counts on is gone, or more is demanded.

    A table that is new has no writers yet.
    """
    gone = {f"gone: {offer}" for offer in before.offers - after.offers}
    new = {what for relation, what in after.demands - before.demands if relation in before.relations}
    return gone | {f"demanded: {what}" for what in new}


def contracted(text: str) -> set[str]:
    """What a migration says itself that it takes: in lines `-- contract: gone: column jobs.old text`."""
    lines = (line.strip() for line in text.splitlines())
    return {line.removeprefix("-- contract: ") for line in lines if line.startswith("-- contract: ")}
