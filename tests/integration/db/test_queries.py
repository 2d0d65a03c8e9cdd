"""Every named query is one that PostgreSQL takes."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import nexus_hub
from nexus_hub.db.queries import blocks, load, sql_root
from tests.fixtures.postgres import MakeDatabase

PREPARABLE = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
FILES = sorted(path.stem for path in (sql_root() / "queries").glob("*.sql"))
QUERIES = [(file, name) for file in FILES for name in load(file)]
ELSEWHERE = {
    "has_plain_config",
    "lock_servers",
    "plain_configs",
    "store_sealed_config",
    "sealed_config",
    "drop_plain_config",
}
"""Queries on a column that only a database of the seed's has; tests/migration runs them."""


def statement(query: bytes) -> str:
    """The query with `$1` and so on in place of its parameters."""
    numbers = itertools.count(1)
    text = re.sub(r"--.*", "", query.decode())
    return re.sub(r"%\(\w+\)[sb]", lambda _: f"${next(numbers)}", text).replace("%%", "%")


@pytest.fixture(scope="module")
def connection(make_database: MakeDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(make_database().app_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(("file", "name"), QUERIES)
def test_a_query_can_be_prepared_by_the_apps_role(connection: psycopg.Connection[Any], file: str, name: str) -> None:
    text = statement(load(file)[name])
    first = text.split(maxsplit=1)[0].upper()
    if first not in PREPARABLE or name in ELSEWHERE:
        pytest.skip("not a statement that can be prepared here")
    connection.execute(f"PREPARE {file}_{name} AS {text}".encode())


def test_most_queries_can_be_prepared() -> None:
    assert len(QUERIES) > 50


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        blocks("-- header\n-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")


def test_the_header_of_a_file_belongs_to_no_query() -> None:
    assert blocks("-- header\n\n-- name: a\nSELECT 1;\n\n-- name: b\n-- why\nSELECT 2;\n") == {
        "a": b"SELECT 1;",
        "b": b"-- why\nSELECT 2;",
    }


def test_every_query_that_is_asked_for_is_there() -> None:
    package = Path(nexus_hub.__file__).parent
    source = "\n".join(path.read_text() for path in package.rglob("*.py"))
    files = dict(re.findall(r'^([A-Z_]+) = load\("(\w+)"\)', source, re.MULTILINE))
    found = re.findall(r'\b([A-Z_]+)\["(\w+)"\]', source)
    asked = {(files[constant], name) for constant, name in found if constant in files}
    assert asked <= set(QUERIES), asked - set(QUERIES)
