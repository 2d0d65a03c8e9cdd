"""The hub's address, the way to it and the operator's key, as the settings and a client that can't wait for them do."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

HOST, PORT = "127.0.0.1", 8080
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - by which a program reaches itself

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


def is_loopback(url: str) -> bool:
    """Tell if a URL leads to this machine itself."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    return host in LOOPBACK or host == "::" or _LOOPBACK.fullmatch(host) is not None or host.endswith(".localhost")


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
