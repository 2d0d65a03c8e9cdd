"""Lines of a client's file: where the keys of its entries stand, for whoever is told that one can't be used."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML, MappingNode, SequenceNode
from ruamel.yaml.error import YAMLError

from nexus_hub.upstream.client_files import blank_out

_TABLE = re.compile(r"\s*\[\[?\s*(?P<path>[^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?P<key>[A-Za-z0-9_.\-]+|"[^"]*"|'[^']*')\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'""")
Path = tuple[str | int, ...]
LONGEST_TEXT = 256 * 1024
"""Lines of a longer text are not looked for: it would take seconds."""


class FileLines:
    """Lines of a file's keys, which are looked for once, and only if somebody asks."""

    def __init__(self, text: str, *, toml: bool = False) -> None:
        self._text = text
        self._toml = toml

    def find(self, path: Sequence[str | int]) -> int | None:
        """Find the line, from 1, of a key by its path from the top, or that of the nearest one above that has one."""
        ways = (tuple(path[:length]) for length in range(len(path), 0, -1))
        return next((self._lines[way] for way in ways if way in self._lines), None)

    @cached_property
    def _lines(self) -> dict[Path, int]:
        return dict(_toml_lines(self._text) if self._toml else _json_lines(self._text))


def _json_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Read the document as YAML, of which JSON is a part, since that knows where things stand."""
    if len(text) > LONGEST_TEXT:
        return
    try:
        node = YAML(typ="safe").compose(blank_out(text.removeprefix("\ufeff")).replace("\t", " "))
        yield from _walk(node, ())
    except (YAMLError, RecursionError, ValueError):
        return


def _walk(node: Any, path: Path) -> Iterator[tuple[Path, int]]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            yield here, key.start_mark.line + 1
            yield from _walk(value, here)
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            yield (*path, position), value.start_mark.line + 1
            yield from _walk(value, (*path, position))


def _toml_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Find tables and keys line by line: the reader of TOML keeps no places."""
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TABLE.fullmatch(line):
            table = _split(found["path"])
            yield table, number
        elif found := _KEY.match(line):
            yield (*table, *_split(found["key"])), number


def _split(path: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(path))
