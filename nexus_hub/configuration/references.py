"""References in the values of a configuration: `${NAME}` for an environment variable, `file:` for a file's content.

They are read where secrets may stand: in what a server is reached with, and in the fixed arguments of bundles.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from nexus_hub.configuration.document import Path
from nexus_hub.errors import ConfigurationFault

LONGEST_FILE = 64 * 1024
_REFERENCE = re.compile(r"\$\$(?=\{)|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = "file:"
_NO_FILE = re.compile(r"(?:\$\$)+file:")
_UNKNOWN = "unknown"
"""Stands for a value that can't be had, so that the rest of the file can be checked."""
_OF_SERVERS = frozenset({"url", "headers", "login", "command", "args", "env"})


def takes_references(path: Path) -> bool:
    """Tell if references are read in the value at a place of the configuration."""
    match path:
        case ("servers", _, str() as key, *_):
            return key in _OF_SERVERS
        case ("bundles", _, "entries", _, "fixed", *_):
            return True
    return False


def has_reference(text: str) -> bool:
    """Tell if a text refers to a variable or a file."""
    return text.startswith(_FILE) or any(found[1] is not None for found in _REFERENCE.finditer(text))


def write_literal(text: str) -> str:
    """Write a text so that it is read as itself where references are read."""
    escaped = write_literal_part(text)
    return f"$${escaped}" if text.startswith(_FILE) or _NO_FILE.match(text) else escaped


def write_literal_part(text: str) -> str:
    """Write a text so that it is read as itself behind something else."""
    return text.replace("${", "$${")


@dataclass
class References:
    """Reads the references of a configuration; files are looked for from `directory`."""

    environment: Mapping[str, str]
    directory: FilePath
    faults: list[ConfigurationFault] = field(default_factory=list)

    def resolve(self, value: Any, path: Path = ()) -> Any:
        """Give a copy of the data with the references replaced; those that can't be are among the faults."""
        match value:
            case dict():
                return {key: self.resolve(member, (*path, key)) for key, member in value.items()}
            case list():
                return [self.resolve(item, (*path, position)) for position, item in enumerate(value)]
            case str() if takes_references(path):
                return self._resolve_text(value, path)
        return value

    def _resolve_text(self, text: str, path: Path) -> str:
        if _NO_FILE.match(text):
            text = text.removeprefix("$$")
        elif text.startswith(_FILE):
            return self._read_file(text.removeprefix(_FILE), path)
        return _REFERENCE.sub(lambda found: self._look_up(found, path), text)

    def _look_up(self, found: re.Match[str], path: Path) -> str:
        name, end = found.groups()
        if name is None:
            return "$"
        if not end or not _NAME.fullmatch(name):
            self._refuse(path, "${...} holds the name of an environment variable; write $${ for the text itself")
        elif name not in self.environment:
            self._refuse(path, f"the environment variable {name[:80]} is not set")
        return self.environment.get(name, _UNKNOWN)

    def _read_file(self, name: str, path: Path) -> str:
        try:
            with (self.directory / FilePath(name).expanduser()).open("rb") as file:
                content = file.read(LONGEST_FILE + 1)
            if len(content) > LONGEST_FILE:
                self._refuse(path, f"the file {name[:200]} has more than {LONGEST_FILE} bytes")
            return content.decode().removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            self._refuse(path, f"the file {name[:200]} can't be read: {reason}")
        return _UNKNOWN

    def _refuse(self, path: Path, problem: str) -> None:
        self.faults.append(ConfigurationFault(path, problem))
