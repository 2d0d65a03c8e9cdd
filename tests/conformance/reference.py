"""The reference server of the Python SDK, from the source distribution of the release that the hub is locked to."""

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from tests.fixtures.upstreams import ROOT, Process, free_port, start

LOCK = ROOT / "requirements.lock"
PLACE = "examples/servers/everything-server"


def fetched(directory: Path) -> Path:
    """The reference server's directory; it is fetched with pip and checked against the lock, if it is not there."""
    server = directory / f"mcp-{version('mcp')}" / PLACE
    if not server.exists():
        with tempfile.TemporaryDirectory() as place, tarfile.open(_download(Path(place))) as archive:
            members = [member for member in archive.getmembers() if f"/{PLACE}/" in member.name]
            archive.extractall(directory, members, filter="data")
    return server


def _download(place: Path) -> Path:
    locked = re.search(r"^mcp==.*(?:\n +--hash=.*)+", LOCK.read_text(), re.MULTILINE)
    assert locked is not None, f"{LOCK} does not lock mcp"
    wanted = place / "wanted.txt"
    wanted.write_text(locked[0].rstrip("\\ "))
    options = ["--quiet", "--no-deps", "--no-binary", "mcp", "--require-hashes", "--dest", str(place)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted)], check=True)
    return next(place.glob("mcp-*.tar.gz"))


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[Process]:
    """The reference server on a port of its own."""
    port = free_port()
    script = fetched(directory) / "mcp_everything_server" / "server.py"
    server = await start(sys.executable, str(script), "--port", str(port), "--log-level", "CRITICAL", port=port)
    try:
        yield server
    finally:
        await server.kill()
