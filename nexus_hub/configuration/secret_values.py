"""Secrets of a configuration: which of its values are some, and which look as if they were."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nexus_hub.configuration.document import Path
from nexus_hub.configuration.references import has_reference, takes_references
from nexus_hub.errors import ConfigurationFault

MASK = "***"
_NAMED = re.compile(
    r"authori[sz]ation|cookie|secret|passw|passphrase|credential|token(?!s|iz)|private.?key"
    r"|(?:^|[^a-z])(?:api|app|access|auth|x)?[_-]?(?:key|auth|pass|pwd|pat)(?:$|[^a-z])",
    re.IGNORECASE,
)
_LOOKS = re.compile(
    r"(?:sk|pk|rk|gh[opsur]|github_pat|glpat|xox[abeprs]|AKIA|ya29|hf|npm|pypi)[-_A-Z0-9][A-Za-z0-9_.-]{12,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]+"
    r"|(?=[A-Za-z0-9+/_=-]*[0-9])(?=[A-Za-z0-9+/_=-]*[A-Za-z])(?![A-Za-z0-9]*(?:[-_/][A-Za-z0-9]{1,11})+$)"
    r"[A-Za-z0-9+/_=-]{20,}"
)
_HARMLESS = re.compile(r"(?:~|\.{0,2})/\S*|true|false|", re.IGNORECASE)
"""Values of any name: the path of a file, a switch."""
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)(?:=(.*))?", re.DOTALL)
_MEMBER = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:=|: *)(.*)", re.DOTALL)
"""A word such as `API_KEY=...` or `Authorization: ...`."""
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s:]*:([^/?#@\s]+@.*)", re.DOTALL)
"""An address with a user's password in it."""
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|Digest) ", re.IGNORECASE)
_ADVICE = "put it into a variable or a file, and write ${NAME} or file:PATH here"


def is_secret(path: Path) -> bool:
    """Tell if a value is never shown: what a server is given, and the arguments of bundles."""
    match path:
        case ("servers", _, "headers" | "env" | "args", _):
            return True
        case ("servers", _, "login", "client_secret"):
            return True
        case ("bundles", _, "entries", _, "fixed", *_):
            return True
    return False


def names_secret(name: str, value: str) -> bool:
    """Tell if a header, a variable or an option of that name holds a secret, by what it is set to."""
    return _NAMED.search(name) is not None and not _HARMLESS.fullmatch(value)


def looks_secret(text: str) -> bool:
    """Tell if a text looks like a key or a token."""
    return _LOOKS.fullmatch(_SCHEME.sub("", text, count=1)) is not None


def find_scheme(text: str) -> str:
    """Give the word with which the value of a header begins that is no secret, such as `Bearer `."""
    found = _SCHEME.match(text)
    return found[0] if found else ""


def find_secret_words(words: list[str]) -> list[tuple[int, str]]:
    """Find the arguments of a command that look like secrets: where, and what stands before the secret in the word."""
    found, name = [], ""
    for position, word in enumerate(words):
        option = _OPTION.fullmatch(word)
        secret = None
        if option and option[2] is not None:
            secret = _find_secret_part(option[1], option[2])
        elif not option:
            secret = _find_secret_part(name, word)
        if secret:
            found.append((position, word.removesuffix(secret)))
        name = option[1] if option and option[2] is None else ""
    return found


def _find_secret_part(name: str, value: str) -> str | None:
    """Find the end of a value of that name which holds a secret: all of it, or what stands behind a name within it."""
    if named := _MEMBER.fullmatch(value):
        bare = named[2].removeprefix(find_scheme(named[2]))
        if bare and (names_secret(named[1], bare) or looks_secret(bare)):
            return bare
    if address := _PASSWORD.fullmatch(value):
        return address[1]
    if has_secret_query(value):
        return value.partition("?")[2]
    return value if value and (names_secret(name, value) or looks_secret(value)) else None


def find_plain_secrets(data: Any, path: Path = ()) -> list[ConfigurationFault]:
    """Find the secrets that stand in a file in so many words; `data` is what the file says, before it is resolved."""
    found: list[ConfigurationFault] = []
    match data:
        case dict():
            for key, value in data.items():
                found += find_plain_secrets(value, (*path, key))
        case list() if len(path) == 3 and path[0] == "servers" and path[2] == "args":
            words = [word if isinstance(word, str) else "" for word in data]
            found += [
                _refuse((*path, position), f"argument number {position + 1}")
                for position, _ in find_secret_words(words)
                if not has_reference(words[position])
            ]
        case list():
            for position, item in enumerate(data):
                found += find_plain_secrets(item, (*path, position))
        case str() if takes_references(path) and data and not has_reference(data) and _is_plain_secret(path, data):
            found.append(_refuse(path, str(path[-1])))
    return found


def _is_plain_secret(path: Path, text: str) -> bool:
    match path:
        case ("servers", _, "url"):
            return has_secret_query(text)
        case ("servers", _, "headers" | "env", name):
            return _find_secret_part(str(name), text) is not None
        case ("servers", _, "login", "client_secret"):
            return True
        case ("bundles", *_):
            return names_secret(str(path[-1]), text) or looks_secret(text)
    return False


def has_secret_query(url: str) -> bool:
    """Tell if an address has a parameter that looks like a secret."""
    try:
        query = parse_qsl(urlsplit(url).query) if "://" in url else []
    except ValueError:
        return False
    return any(names_secret(name, value) or looks_secret(value) for name, value in query)


def _refuse(path: Path, what: str) -> ConfigurationFault:
    return ConfigurationFault(path, f"{what[:80]} is a secret, and a file is no place for one: {_ADVICE}")
