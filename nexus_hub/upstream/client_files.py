"""Configuration files of MCP clients as documents: JSON with comments or TOML, and where the servers are in them."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nexus_hub.errors import InvalidConfig

_PLACES = (
    ("mcpServers",),
    ("servers",),
    ("context_servers",),
    ("mcp_servers",),
    ("amp.mcpServers",),
    ("mcp", "servers"),
    ("mcp",),
)
"""Claude, Cursor, Cline, Windsurf, Gemini and more; VS Code; Zed; Codex; Amp; VS Code's settings; opencode."""
LOCATIONS = frozenset({"command", "url", "httpUrl", "serverUrl"})
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\r\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_PLACE = re.compile(r"\(at ([^()]*)\)$")


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that stands twice in one object, in the place of its value: clients differ in what they take."""

    key: str

    def __str__(self) -> str:
        return f"The file has the key {self.key[:80]!r} twice in one object; keep one of them."


def decode(raw: bytes) -> str:
    """Decode a file: UTF-8, or UTF-16 as Windows writes it, with its mark of byte order.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    return raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")


def read_document(text: str, *, toml: bool = False) -> dict[str, Any]:
    """Read a file's document.

    Raises:
        InvalidConfig: it can't be read; it names the place, and no value.
    """
    try:
        parsed = _read_toml(text) if toml else _read_json(text.removeprefix("\ufeff"))
    except RecursionError:
        raise InvalidConfig("The file is nested too deeply.") from None
    if not isinstance(parsed, dict):
        raise InvalidConfig('The file is not a JSON object; write {"mcpServers": {"name": {...}}}.')
    return parsed


def _read_json(text: str) -> Any:
    """Read JSON as editors take it; comments and trailing commas turn into blanks, so that places stay right."""
    for pattern in (_COMMENT, _TRAILING_COMMA):
        text = pattern.sub(lambda found: found[1] or re.sub(r"[^\r\n]", " ", found[0]), text)
    try:
        return json.loads(text, object_pairs_hook=_mark_repeats)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidConfig(f"The file is not JSON: {error.msg} at {place}.") from None
    except ValueError:  # a number of more digits than Python reads
        raise InvalidConfig("The file has a number that is too long.") from None


def _read_toml(text: str) -> Any:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        raise InvalidConfig(f"The file is not TOML{f': see {place[1]}' if place else ''}.") from None


def _mark_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = Repeated(name) if name in found else value
    return found


def find_repeat(value: Any) -> Repeated | None:
    """Find a repeated key in a document or a part of it."""
    match value:
        case Repeated():
            return value
        case dict():
            return next(filter(None, map(find_repeat, value.values())), None)
        case list():
            return next(filter(None, map(find_repeat, value)), None)
    return None


def find_servers(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Find the entries of servers, whichever client the file is of, in the order of the file.

    Raises:
        InvalidConfig: there are none.
    """
    for place in _PLACES:
        match _at(document, place):
            case dict() as servers:
                return list(servers.items())
            case list() as servers:
                return list(_by_name(servers))
            case Repeated() as repeated:
                raise InvalidConfig(str(repeated))
    if document and all(isinstance(entry, dict) and LOCATIONS & entry.keys() for entry in document.values()):
        return list(document.items())
    raise InvalidConfig(
        'The file has no object "mcpServers", nor "servers", "context_servers", "mcp_servers" or "mcp"; '
        'write {"mcpServers": {"name": {...}}}.'
    )


def _at(document: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    found: Any = document
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _by_name(servers: list[Any]) -> Iterator[tuple[str, Any]]:
    """Take the names of a list of entries out of the entries."""
    for entry in servers:
        name = entry.get("name") if isinstance(entry, dict) else None
        yield name if isinstance(name, str) else "", entry


def find_inputs(document: Mapping[str, Any]) -> dict[str, str | None]:
    """Find the inputs that VS Code asks for: their ids and defaults."""
    found = (_at(document, place) for place in (("inputs",), ("mcp", "inputs")))
    inputs = next((one for one in found if isinstance(one, list)), [])
    return {
        one["id"]: default if isinstance(default := one.get("default"), str) else None
        for one in inputs
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    }
