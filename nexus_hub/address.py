"""The hub's address and the operator's key, as the settings and a client that can't wait for them find both."""

import os
from pathlib import Path

HOST, PORT = "127.0.0.1", 8080


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


def read_service_key(home: Path) -> str | None:
    """The operator's key of a home; None where it has none, or not for this user."""
    try:
        return (home / "service.key").read_text(encoding="utf-8").strip()
    except OSError:
        return None
