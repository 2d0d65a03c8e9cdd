"""Named SQL: files of `-- name: x` blocks, read once per process."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def sql_root() -> Path:
    """The directory of the SQL: in the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql"


@cache
def load(name: str) -> Mapping[str, bytes]:
    """The blocks of `sql/queries/<name>.sql`, by their names; psycopg takes them as they are (bytes)."""
    return blocks((sql_root() / "queries" / f"{name}.sql").read_text(encoding="utf-8"))


def blocks(text: str) -> Mapping[str, bytes]:
    """Split a file at its `-- name:` lines; what stands before the first one is its header.

    Raises:
        ValueError: a name stands twice.
    """
    parts = _NAME.split(text)[1:]
    names = parts[::2]
    if len(set(names)) != len(names):
        raise ValueError(f"a query's name stands twice: {sorted(names)}")
    return MappingProxyType({name: body.strip().encode() for name, body in zip(names, parts[1::2], strict=True)})
