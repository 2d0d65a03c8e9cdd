"""Redirect addresses of OAuth clients: which may be registered, which a request may name, and what is added to them."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlencode, urlsplit

from nexus_hub.address import read_origin

LONGEST = 2000
MOST = 50
"""Redirect addresses of one client."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,60}")
_ACTIVE = frozenset(
    {
        *("about", "blob", "chrome", "chrome-extension", "data", "file", "filesystem", "ftp", "intent", "jar"),
        *("javascript", "mailto", "resource", "sms", "tel", "vbscript", "view-source", "ws", "wss"),
        *("afp", "dav", "facetime", "feed", "ldap", "ldaps", "mhtml", "nfs", "rdp", "res", "search", "search-ms"),
        *("sftp", "shell", "smb", "ssh", "telnet", "vnc"),
    }
)
"""Schemes that a browser or a system acts upon by itself: no application of a user's waits behind them."""


def find_fault(uri: str) -> str | None:
    """Say why a code may not be sent to an address; None if it may.

    That is https to any host, http to this machine itself, and the scheme of an application that is installed
    (RFC 8252, 7.1): the consent page says which.
    """
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "it is no URL"
    if len(uri) > LONGEST or not uri.isascii() or not uri.isprintable() or any(mark in uri for mark in ' "<>\\^`{|}'):
        return f"it may hold at most {LONGEST} characters, and only those of a URL"
    if "#" in uri:
        return "it holds a fragment"
    if "@" in parts.netloc:
        return "it holds a user name"
    if has_dots(parts.path):
        return "its path holds . or .."
    return _find_fault_of_scheme(parts, host)


def has_dots(path: str) -> bool:
    """Tell if a path holds . or .., also as browsers read it in other letters, so that it leads elsewhere."""
    return any(step in {".", ".."} for step in path.lower().replace("%2e", ".").split("/"))


def _find_fault_of_scheme(parts: SplitResult, host: str | None) -> str | None:
    scheme = parts.scheme
    if scheme in {"https", "http"}:
        if not host:
            return "it names no host"
        if read_origin(f"{scheme}://{parts.netloc}") is None:
            return "its host is not written plainly"
        return None if scheme == "https" or host in _LOOPBACK else "it must be https, unless it leads to this machine"
    if (
        not _SCHEME.fullmatch(scheme)
        or scheme in _ACTIVE
        or scheme.startswith("ms-")
        or not (parts.netloc or "." in scheme)
    ):
        return "its scheme is none to which a code may be sent"
    return None


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Tell if a client may have its code sent to an address: compared as strings (RFC 9700, 2.1).

    Only the port of an address of this machine may be any: an application learns it as it starts (RFC 8252, 7.3).
    """
    known = set(registered)
    port_free = _drop_port(uri)
    return uri in known or (port_free is not None and port_free in {_drop_port(one) for one in known})


def _drop_port(uri: str) -> tuple[str, str, str] | None:
    """Give host, path and query of an address of this machine."""
    parts = urlsplit(uri)
    is_here = parts.scheme == "http" and parts.hostname in _LOOPBACK and "@" not in parts.netloc
    return (str(parts.hostname), parts.path, parts.query) if is_here else None


def describe(uri: str) -> str:
    """Name the place to which an address leads, as a person knows it: its host, or the application's scheme."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def add_parameters(uri: str, **parameters: str | None) -> str:
    """Add the parameters of an answer to an address, behind those that it has."""
    given = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{given}"
