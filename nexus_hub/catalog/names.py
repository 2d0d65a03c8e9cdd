"""Names of servers, and of what they offer: `<server>__<name>`, short enough for every model provider."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from nexus_hub.errors import InvalidName

_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?=[A-Za-z0-9-])){0,31}")
_REFUSED = re.compile(r"[^A-Za-z0-9_-]")
_SHORTENED = re.compile(r".*_[0-9a-f]{8}")
RESERVED = frozenset({"hub"})
"""Names of no server, in capitals neither: the hub's own tools begin with them."""
LIMIT = 64
"""Model providers accept `^[a-zA-Z0-9_-]{1,64}$` as the name of a tool."""


def check_server_name(name: str, kind: str = "server") -> str:
    """Check the name of a server, or of a bundle, which keeps the same rules, and give it back.

    Raises:
        InvalidName: it is not 1 to 32 letters, digits, `-` and single `_`, led by a letter or digit.
    """
    if not _keeps_rules(name):
        rule = "use 1 to 32 letters, digits, '-' and single '_', with a letter or digit first and no '_' at the end"
        rule = "it is the hub's own; choose another" if name.lower() in RESERVED else rule
        raise InvalidName(kind, name, rule)
    return name


def make_server_name(name: str) -> str:
    """Make a server's name of one that breaks the rules: its letters and digits, with `-` for all between them.

    A name that is too long, or of which nothing is left, ends in 8 hexadecimal digits of its SHA-256.
    """
    letters = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    plain = "-".join(re.findall(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*", letters))
    return plain if _keeps_rules(plain) else mark_server_name(plain, name)


def make_server_names(names: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Give each of the names one that keeps the rules and is given once, the same whenever the names are the same.

    Those that were renamed come first, then those that keep the rules as they are.
    """
    wanted = [renamed.get(name) or (name if _keeps_rules(name) else make_server_name(name)) for name in names]
    first = sorted(range(len(names)), key=lambda at: (names[at] not in renamed, names[at] != wanted[at]))
    given: dict[str, int] = {}
    for at in first:
        name, source = wanted[at], names[at]
        while name in given:
            name, source = mark_server_name(wanted[at], source), f"{source} again"
        given[name] = at
    return sorted(given, key=lambda name: given[name])


def _keeps_rules(name: str) -> bool:
    return len(name) <= 32 and _SERVER.fullmatch(name) is not None and name.lower() not in RESERVED


def mark_server_name(made: str, name: str) -> str:
    """Tell a made name from another one by 8 hexadecimal digits of the SHA-256 of what it was made of."""
    return f"{made[:23].rstrip('-_') or 'server'}-{_digest(name)}"


def is_plain_name(name: str) -> bool:
    """Tell if a name is one that the hub makes for a tool or prompt, in every surface nothing but itself."""
    return len(name) <= LIMIT and name != "" and not _REFUSED.search(name)


def make_namespaced(server: str, name: str) -> str:
    """Make the hub's name of a server's tool or prompt, at most 64 characters of `[A-Za-z0-9_-]`.

    A name that does not fit is shortened and ends in 8 hexadecimal digits of its SHA-256, so that it stays unique;
    so does a name that looks as if it had been shortened.
    """
    plain = f"{server}__{name}"
    if len(plain) <= LIMIT and not _REFUSED.search(plain) and not _SHORTENED.fullmatch(plain):
        return plain
    return f"{_REFUSED.sub('_', plain)[: LIMIT - 9]}_{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
