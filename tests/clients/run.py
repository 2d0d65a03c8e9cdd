"""A table of real clients against what works through a hub, from running them.

    python -m tests.clients.run [--only CLIENT]

Each client meets `tests/upstreams/lively.py` through `/mcp`, first as a server of the newer era, then of the older one.
It ends with an error if a client fails at something that it can do.
"""

import argparse
import asyncio
import json
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.fixtures.hub import Hub, running
from tests.fixtures.upstreams import ROOT, UPSTREAMS, free_port, start

HERE = Path(__file__).parent
PACKAGES = ROOT / ".node" / "clients"
NODE = PACKAGES / "node_modules" / "node" / "bin" / "node"
INSPECTOR = (
    PACKAGES / "node_modules" / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
)
FASTMCP = ROOT / ".node" / "fastmcp" / "bin" / "python"
FEATURES = ("list", "call", "log in", "progress", "cancel", "elicitation", "list_changed", "long call")
HANDLE_SECONDS = "4"
UPSTREAM_ERAS = {"2026-07-28": [], "2025-11-25": ["--legacy"]}
NOTHING = "-"
CLIENT_SECONDS = 500


@dataclass(frozen=True, eq=False)
class Client:
    """A client as a command that writes what it saw as JSON."""

    name: str
    era: str
    command: list[str]


CLIENTS = (
    Client("Python SDK", "2026-07-28", [sys.executable, "-m", "tests.clients.python_sdk", "2026-07-28"]),
    Client("Python SDK", "2025-11-25", [sys.executable, "-m", "tests.clients.python_sdk", "legacy"]),
    Client("TypeScript SDK 2", "2026-07-28", [str(NODE), str(HERE / "typescript.mjs"), "v2", "2026-07-28"]),
    Client("TypeScript SDK 2", "2025-11-25", [str(NODE), str(HERE / "typescript.mjs"), "v2", "legacy"]),
    Client("TypeScript SDK 1", "2025-11-25", [str(NODE), str(HERE / "typescript.mjs"), "v1"]),
    Client("fastmcp", "2026-07-28", [str(FASTMCP), "-m", "tests.clients.fastmcp_client", "2026-07-28"]),
    Client("fastmcp", "2025-11-25", [str(FASTMCP), "-m", "tests.clients.fastmcp_client", "legacy"]),
    Client("inspector --cli", "2026-07-28", [sys.executable, "-m", "tests.clients.inspector", "modern"]),
    Client("inspector --cli", "2025-11-25", [sys.executable, "-m", "tests.clients.inspector", "legacy"]),
    Client("inspector mcpdo", "2026-07-28", [sys.executable, "-m", "tests.clients.mcpdo", "modern"]),
    Client("inspector mcpdo", "2025-11-25", [sys.executable, "-m", "tests.clients.mcpdo", "legacy"]),
)


@dataclass
class Table:
    """The clients' rows for one era of the server."""

    upstream: str
    rows: dict[Client, dict[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        head = ["client", "era", *FEATURES]
        lines = [f"\nServer of {self.upstream}\n", _row(head), _row(["---"] * len(head))]
        for client, seen in self.rows.items():
            lines.append(_row([client.name, client.era, *(seen.get(feature, NOTHING) for feature in FEATURES)]))
        return "\n".join(lines)

    def failures(self) -> list[str]:
        """What went wrong."""
        return [
            f"{client.name} ({client.era}), {self.upstream}: {feature}: {what}"
            for client, seen in self.rows.items()
            for feature, what in seen.items()
            if what.startswith("failed")
        ]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


async def observe(client: Client, hub: Hub, folder: Path, tag: str) -> dict[str, str]:
    """Run a client; what it saw."""
    told = {
        "CLIENT_URL": f"{hub.url}/mcp",
        "CLIENT_TOKEN": hub.key,
        "CLIENT_FOLDER": str(folder),
        "CLIENT_TAG": tag,
        "CLIENT_PACKAGES": str(PACKAGES),
        "CLIENT_NODE": str(NODE),
        "CLIENT_INSPECTOR": str(INSPECTOR),
    }
    process = await asyncio.create_subprocess_exec(
        *client.command,
        env=os.environ | told,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"list": f"failed: no end within {CLIENT_SECONDS} s"}
    try:
        seen: dict[str, str] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        return {"list": f"failed: {err.decode(errors='replace').strip()[-300:]}".replace("\n", " ")}
    return seen


async def run(hub: Hub, folder: Path, only: str | None) -> list[Table]:
    """Run all clients against the server in each of its eras."""
    tables = []
    for upstream, options in UPSTREAM_ERAS.items():
        port = free_port()
        lively = [sys.executable, str(UPSTREAMS / "lively.py"), "--folder", str(folder), *options]
        server = await start(*lively, "--port", str(port), port=port)
        try:
            added = hub.run("server", "add", "lively", "--url", server.url)
            assert added.code == 0, added.err
            table = Table(upstream)
            for number, client in enumerate(CLIENTS):
                if only is None or only in shlex.join([client.name, client.era]):
                    table.rows[client] = await observe(client, hub, folder, f"c{number}-{upstream}")
                    sys.stderr.write(f"{upstream} {client.name} {client.era}: {table.rows[client]}\n")
            tables.append(table)
            hub.run("server", "remove", "lively")
        finally:
            await server.kill()
    return tables


def main(only: str | None) -> int:
    """Start a hub, run the clients, print the tables; the exit code."""
    with tempfile.TemporaryDirectory(prefix="nexus-clients-") as place:
        Path(place).chmod(0o711)
        folder = Path(place) / "lively"
        folder.mkdir()
        with running(Path(place), NEXUS_HANDLE_SECONDS=HANDLE_SECONDS) as hub:
            tables = asyncio.run(run(hub, folder, only))
    failures = [failure for table in tables for failure in table.failures()]
    sys.stdout.write("\n".join([*map(str, tables), "", *failures, ""]))
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", metavar="CLIENT")
    sys.exit(main(parser.parse_args().only))
