"""Names of servers, and of what they offer: `<server>__<name>`, short enough for every model provider."""

import hashlib
import re

from nexus_hub.errors import InvalidName

_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?=[A-Za-z0-9-])){0,31}")
_REFUSED = re.compile(r"[^A-Za-z0-9_-]")
_SHORTENED = re.compile(r".*_[0-9a-f]{8}")
LIMIT = 64
"""Model providers accept `^[a-zA-Z0-9_-]{1,64}$` as the name of a tool."""


def check_server_name(name: str) -> str:
    """Check the name of a server, and give it back.

    Raises:
        InvalidName: it is not 1 to 32 letters, digits, `-` and single `_`, led by a letter or digit.
    """
    if len(name) > 32 or not _SERVER.fullmatch(name):
        rule = "use 1 to 32 letters, digits, '-' and single '_', with a letter or digit first and no '_' at the end"
        raise InvalidName("server", name, rule)
    return name


def make_namespaced(server: str, name: str) -> str:
    """Make the hub's name of a server's tool or prompt, at most 64 characters of `[A-Za-z0-9_-]`.

    A name that does not fit is shortened and ends in 8 hexadecimal digits of its SHA-256, so that it stays unique;
    so does a name that looks as if it had been shortened.
    """
    plain = f"{server}__{name}"
    if len(plain) <= LIMIT and not _REFUSED.search(plain) and not _SHORTENED.fullmatch(plain):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_REFUSED.sub('_', plain)[: LIMIT - 9]}_{digest}"
