"""The hub's address, the way to it and the operator's key, as the settings and a client that can't wait for them do."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nexus_hub.errors import ApiProblem

HOST, PORT = "127.0.0.1", 8080
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - by which a program reaches itself

_HOST = re.compile(r"[a-z0-9_.:-]+")
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = re.compile(r"127(\.\d{1,3}){1,3}")


def default_home() -> Path:
    """Choose the home where NEXUS_HOME names none; root's lies where PostgreSQL's own user can reach it."""
    if os.geteuid() == 0:
        return Path("/var/lib/nexus-hub")
    import platformdirs

    return Path(platformdirs.user_data_dir("nexus-hub"))


def listen_url(host: str, port: int) -> str:
    """The URL under which this machine reaches what listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{reachable}:{port}"


def find_hub(environment: Mapping[str, str]) -> tuple[str, str | None] | None:
    """Find the hub that the environment names, and the token for it: NEXUS_TOKEN, or the home's service key.

    None where the settings have to say it, which take long to import: they know other ways to write a number.
    """
    given = {name.upper(): value for name, value in environment.items() if value}
    port = given.get("NEXUS_PORT", str(PORT))
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        return None
    url = given.get("NEXUS_URL") or listen_url(given.get("NEXUS_HOST", HOST), int(port))
    token = given.get("NEXUS_TOKEN") or given.get("NEXUS_SERVICE_KEY")
    if token is None:
        home = given.get("NEXUS_HOME")
        token = read_service_key(Path(home) if home else default_home())
    return url.rstrip("/"), token


def check_token(token: str) -> str:
    """Check that a token can stand in a header.

    Raises:
        ApiProblem: it holds characters that no token has.
    """
    if token.isascii() and token.isprintable():
        return token
    raise ApiProblem(0, "not-authenticated", "The token holds characters that no token has; see NEXUS_TOKEN.")


def is_loopback(url: str) -> bool:
    """Tell if a URL leads to this machine itself."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    return host in LOOPBACK or host == "::" or _LOOPBACK.fullmatch(host) is not None or host.endswith(".localhost")


def is_safe(url: str) -> bool:
    """Tell if a URL is https, or http to this machine itself, and holds no user name and no fragment."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - refuses what is none
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or parts.fragment or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))


def origin_of(url: str) -> str:
    """The scheme, host and port of a URL that has no more than that: https, or http to this machine itself.

    Raises:
        ValueError: it is no such URL.
    """
    origin = read_origin(url)
    if origin is None:
        raise ValueError("must be a scheme and a host, such as https://hub.example, without a path")
    if not (origin.startswith("https:") or is_loopback(origin)):
        raise ValueError("must begin with https://, or lead to this machine")
    return origin


def read_origin(url: str) -> str | None:
    """Read a URL that is no more than http or https, a host and a port, as it is written when it is compared.

    None: it is no such URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if more or parts.scheme not in _PORTS or not _HOST.fullmatch(host):
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in {None, _PORTS[parts.scheme]} else f":{port}")


def goes_direct(url: str) -> bool:
    """Tell if requests with a secret go to a URL past every proxy: those to this machine, and those without TLS.

    Through a proxy, only TLS keeps a key from it.
    """
    return not url.lower().startswith("https:") or is_loopback(url)


def read_service_key(home: Path) -> str | None:
    """The operator's key of a home; None where it has none, or not for this user."""
    try:
        return (home / "service.key").read_text(encoding="utf-8").strip()
    except OSError:
        return None
