"""Configuration files of MCP clients: where they are, and as documents of JSON with comments or TOML."""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
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


def _config(environment: Mapping[str, str], *parts: str) -> Path:
    """Find a file of the user's configurations on Linux."""
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config", *parts)


def _application(environment: Mapping[str, str], *parts: str) -> Path:
    """Find a file of an application: macOS has a directory of its own for these."""
    return Path.home() / "Library/Application Support" / Path(*parts) if _is_mac() else _config(environment, *parts)


def _is_mac() -> bool:
    return sys.platform == "darwin"


@dataclass(frozen=True, slots=True)
class ClientFile:
    """The file in which an MCP client looks for servers, and the forms that it takes there."""

    title: str
    place: tuple[str, ...]
    """The keys under which the servers stand: one of those that `server import` looks under."""
    find: Callable[[Mapping[str, str]], Path]
    """The path, from the environment."""
    source: str
    """The page of the client's makers that says so."""
    reference: str | None = None
    """The variable NEXUS_TOKEN as a value refers to it; None where values can't."""
    takes_headers: bool = True
    """False if a header could only hold the token itself, or if the client knows no HTTP: it needs the bridge."""
    names_type: bool = False
    """True if an entry says `http` or `stdio` under `type`."""
    comments: bool = False
    toml: bool = False


CLIENT_FILES = {
    "claude-code": ClientFile(
        "Claude Code",
        ("mcpServers",),
        lambda _: Path.cwd() / ".mcp.json",
        "https://code.claude.com/docs/en/mcp",
        reference="${NEXUS_TOKEN}",
        names_type=True,
    ),
    "claude-desktop": ClientFile(
        "Claude Desktop",
        ("mcpServers",),
        lambda environment: _application(environment, "Claude", "claude_desktop_config.json"),
        "https://modelcontextprotocol.io/docs/develop/connect-local-servers",
        takes_headers=False,
    ),
    "cursor": ClientFile(
        "Cursor",
        ("mcpServers",),
        lambda _: Path.home() / ".cursor" / "mcp.json",
        "https://cursor.com/docs/mcp",
        reference="${env:NEXUS_TOKEN}",
    ),
    "vscode": ClientFile(
        "Visual Studio Code",
        ("servers",),
        lambda environment: _application(environment, "Code", "User", "mcp.json"),
        "https://code.visualstudio.com/docs/agents/reference/mcp-configuration",
        reference="${env:NEXUS_TOKEN}",
        names_type=True,
        comments=True,
    ),
    "codex": ClientFile(
        "Codex",
        ("mcp_servers",),
        lambda environment: Path(environment.get("CODEX_HOME") or Path.home() / ".codex", "config.toml"),
        "https://developers.openai.com/codex/mcp",
        toml=True,
    ),
    "zed": ClientFile(
        "Zed",
        ("context_servers",),
        lambda environment: (
            Path.home() / ".config/zed/settings.json" if _is_mac() else _config(environment, "zed", "settings.json")
        ),
        "https://zed.dev/docs/ai/mcp",
        takes_headers=False,  # it expands no variables: https://github.com/zed-industries/zed/issues/60459
        comments=True,
    ),
}
"""Clients that can be told of the hub, by the name that a person gives."""


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
    """Read JSON as editors take it."""
    try:
        return json.loads(blank_out(text), object_pairs_hook=_mark_repeats)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidConfig(f"The file is not JSON: {error.msg} at {place}.") from None
    except ValueError:  # a number of more digits than Python reads
        raise InvalidConfig("The file has a number that is too long.") from None


def blank_out(text: str) -> str:
    """Turn comments and trailing commas into blanks, so that places stay right."""
    return _blank_out(_TRAILING_COMMA, blank_out_comments(text))


def blank_out_comments(text: str) -> str:
    """Turn comments into blanks."""
    return _blank_out(_COMMENT, text)


def _blank_out(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: found[1] or re.sub(r"[^\r\n]", " ", found[0]), text)


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


def find_servers(document: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str, Any]]:
    """Find the entries of servers, whichever client the file is of, in the order of the file.

    Returns the place of each entry, its name, and the entry itself.

    Raises:
        InvalidConfig: there are none.
    """
    for place in _PLACES:
        match _at(document, place):
            case dict() as servers:
                return [((*place, name), name, entry) for name, entry in servers.items()]
            case list() as servers:
                return [((*place, position), _name_of(entry), entry) for position, entry in enumerate(servers)]
            case Repeated() as repeated:
                raise InvalidConfig(str(repeated))
    if document and all(isinstance(entry, dict) and LOCATIONS & entry.keys() for entry in document.values()):
        return [((name,), name, entry) for name, entry in document.items()]
    raise InvalidConfig(
        'The file has no object "mcpServers", nor "servers", "context_servers", "mcp_servers" or "mcp"; '
        'write {"mcpServers": {"name": {...}}}.'
    )


def _at(document: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    found: Any = document
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _name_of(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def find_inputs(document: Mapping[str, Any]) -> dict[str, str | None]:
    """Find the inputs that VS Code asks for: their ids and defaults."""
    found = (_at(document, place) for place in (("inputs",), ("mcp", "inputs")))
    inputs = next((one for one in found if isinstance(one, list)), [])
    return {
        one["id"]: default if isinstance(default := one.get("default"), str) else None
        for one in inputs
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    }
