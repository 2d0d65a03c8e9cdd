"""The hub's configuration as a file says it, with a variable in place of each secret."""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from nexus_hub.configuration.differences import SECTIONS
from nexus_hub.configuration.document import Path
from nexus_hub.configuration.present import Present
from nexus_hub.configuration.references import takes_references, write_literal, write_literal_part
from nexus_hub.configuration.schema import GroupPart, Section, write_duration
from nexus_hub.configuration.secret_values import find_scheme, find_secret_words, looks_secret, names_secret
from nexus_hub.upstream.config import HeaderLogin, OAuthLogin
from nexus_hub.upstream.display import TOKEN_LIKE

_NOT_OF_NAMES = re.compile(r"[^A-Z0-9]+")


@dataclass
class Exported:
    """A document for the file; `secrets` has each variable that stands in it, with its way; `unopened` is left out."""

    document: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Path] = field(default_factory=dict)
    unopened: list[str] = field(default_factory=list)

    def hide(self, path: Path) -> str:
        """Give the variable that stands for a secret."""
        words = [str(step) for step in path if step not in {"servers", "bundles", "entries", "headers", "env", "fixed"}]
        plain = _NOT_OF_NAMES.sub("_", "_".join(words).upper()).strip("_") or "SECRET"
        name = base = f"_{plain}" if plain[0].isdigit() else plain
        count = 1
        while name in self.secrets:
            count += 1
            name = f"{base}_{count}"
        self.secrets[name] = path
        return f"${{{name}}}"


def export(present: Present) -> Exported:
    """Write what the hub has as a document for the file."""
    exported = Exported(unopened=sorted(present.unopened))
    for section in SECTIONS:
        said = getattr(present.configuration, section)
        if isinstance(said, Section):
            exported.document[section] = {name: getattr(said, name) for name in type(said).model_fields}
        else:
            exported.document[section] = {
                name: _write_part(exported, part, (section, name))
                for name, part in (said or {}).items()
                if name not in present.unopened and not _is_bare(part, name)
            }
    return exported


def _is_bare(part: Section, name: str) -> bool:
    """Leave out the group of everyone as it is by default."""
    return isinstance(part, GroupPart) and name == "everyone" and not part.grants


def _write_part(exported: Exported, part: Any, path: Path) -> dict[str, Any]:
    document = {}
    for name, about in type(part).model_fields.items():
        value = getattr(part, name)
        is_kind = name == "kind" and isinstance(part, OAuthLogin | HeaderLogin)
        if is_kind or about.is_required() or value != about.get_default(call_default_factory=True):
            document[name] = _write(exported, value, (*path, name))
    return document


def _write(exported: Exported, value: Any, path: Path) -> Any:
    written = value
    match value:
        case SecretStr():
            written = find_scheme(value.get_secret_value()) + exported.hide(path)
        case Section() | OAuthLogin() | HeaderLogin():
            written = _write_part(exported, value, path)
        case dict():
            written = {name: _write(exported, member, (*path, name)) for name, member in value.items()}
        case list() if path[0] == "servers" and path[2:] == ("args",):
            written = _write_words(exported, value, path)
        case list():
            written = [_write(exported, item, (*path, position)) for position, item in enumerate(value)]
        case str() if takes_references(path):
            written = _write_text(exported, value, path)
        case int() if path[0] == "servers" and path[2:] == ("ttl",):
            written = write_duration(value)
    return written


def _write_words(exported: Exported, words: list[str], path: Path) -> list[str]:
    secret = dict(find_secret_words(words))
    return [
        write_literal(secret.get(position, word)) + (exported.hide((*path, position)) if position in secret else "")
        for position, word in enumerate(words)
    ]


def _write_text(exported: Exported, text: str, path: Path) -> str:
    if path[-1] == "url":
        return _write_url(exported, text, path)
    if path[0] == "bundles" and (names_secret(str(path[-1]), text) or looks_secret(text)):
        return exported.hide(path)
    return write_literal(text)


def _write_url(exported: Exported, url: str, path: Path) -> str:
    """Write an address, with variables for the parts of its path and its query that look like keys."""
    place, mark, query = url.partition("?")
    scheme, empty, host, *segments = place.split("/")
    written = [
        exported.hide((*path, "key")) if TOKEN_LIKE.fullmatch(segment) else write_literal_part(segment)
        for segment in segments
    ]
    parameters = [_write_parameter(exported, parameter, path) for parameter in query.split("&")]
    return "/".join([scheme, empty, host, *written]) + mark + "&".join(parameters)


def _write_parameter(exported: Exported, parameter: str, path: Path) -> str:
    name, equals, value = parameter.rpartition("=")
    if names_secret(name, value) or looks_secret(value) or TOKEN_LIKE.fullmatch(value):
        return f"{write_literal_part(name)}{equals}{exported.hide((*path, name or 'key'))}"
    return write_literal_part(parameter)
