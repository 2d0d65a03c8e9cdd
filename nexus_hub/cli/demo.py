"""`demo`: the main job from end to end on a hub of its own, which is gone afterwards."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nexus_hub.cli.context import FAILED, SUCCESS
from nexus_hub.cli.output import Output
from nexus_hub.cli.stack import INTERRUPTED
from nexus_hub.client import HubClient
from nexus_hub.errors import ApiProblem
from nexus_hub.settings import Settings

TOOL = "time__get_current_time"
ROW = ("id", "status", "job_type", "tool_name", "attempt", "flow_run_id", "created_at", "started_at", "completed_at")


def demo(*, as_json: bool) -> int:
    """Start a hub in a new directory on free ports, call a tool of a real MCP server, show all of it, and stop."""
    output = Output(as_json=as_json)
    command = time_server()
    if command is None:
        output.error("The demo calls mcp-server-time, which is not installed: pip install mcp-server-time")
        return FAILED
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that all is stopped and removed then too
    with tempfile.TemporaryDirectory(prefix="nexus-hub-demo-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # as root, PostgreSQL's user passes through
        settings = Settings(home=Path(directory), port=_free_port(), prefect_port=_free_port())
        try:
            with _running(settings, output):
                return asyncio.run(_show(settings, output, command))
        except (ApiProblem, subprocess.CalledProcessError) as error:
            output.error(f"The demo failed: {error}")
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED


def time_server() -> list[str] | None:
    """The command of mcp-server-time: beside this Python, else on the path."""
    beside = Path(sys.executable).with_name("mcp-server-time")
    found = str(beside) if beside.exists() else shutil.which("mcp-server-time")
    return [found, "--local-timezone=UTC"] if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(settings: Settings, output: Output) -> Iterator[None]:
    """A hub with its own home, which knows nothing of a hub that this environment names."""
    ours = ("NEXUS_", "PREFECT_", "VAULT_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {
        "NEXUS_HOME": str(settings.home),
        "NEXUS_PORT": str(settings.port),
        "NEXUS_PREFECT_PORT": str(settings.prefect_port),
    }
    hub = [sys.executable, "-m", "nexus_hub"]
    quiet = subprocess.DEVNULL if output.as_json else None
    output.line("Starting PostgreSQL, Prefect, the API and a worker ...", style="bold")
    # The hub ends with this process, however that ends: it waits for the end of a pipe that nobody else holds.
    lifeline, held = os.pipe()
    up = [*hub, "up", "--detach", "--temporary"]
    try:
        with subprocess.Popen(up, env=environment, stdin=lifeline, stdout=quiet) as starting:
            try:
                code = starting.wait()
            except KeyboardInterrupt:
                starting.terminate()  # which stops what it has started
                raise
        if code != 0:
            raise subprocess.CalledProcessError(code, "nexus-hub up")
        yield
    finally:
        output.line("Stopping ...", style="bold")
        subprocess.run([*hub, "down"], env=environment, check=False, stdout=quiet)
        for end in (lifeline, held):
            os.close(end)


async def _show(settings: Settings, output: Output, command: list[str]) -> int:
    key = (settings.home / "service.key").read_text(encoding="utf-8").strip()
    async with HubClient(f"http://127.0.0.1:{settings.port}", key) as client:
        output.line("Registering mcp-server-time as 'time' ...", style="bold")
        server = await client.request(
            "POST", "/v1/servers", {"name": "time", "command": command[0], "args": command[1:]}
        )
        output.line(f"  {server['tools']} tools, protocol {server['protocol_version']}")
        output.line(f"Calling {TOOL} as a durable job ...", style="bold")
        job = submitted = await client.submit({"name": TOOL, "arguments": {"timezone": "UTC"}})
        async for job in client.watch(submitted["id"], timeout=120):
            output.state(job)
        run = await _flow_run(settings, job)
    return _report(output, job, run)


async def _flow_run(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Read the job's flow run from Prefect, once it has ended there too."""
    from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth

    async with PrefectClient(settings.prefect_url, prefect_auth(settings)) as prefect:
        return await prefect.ended_run(job["flow_run_id"])


def _report(output: Output, job: dict[str, Any], run: dict[str, Any]) -> int:
    if output.as_json:
        output.data({"job": job, "flow_run": {"name": run["name"], "state": run["state"]["name"]}})
    else:
        output.line("The result:", style="bold")
        output.result(job["result"])
        output.line("The flow run in Prefect:", style="bold")
        output.line(f"  {run['name']}: {run['state']['name']}")
        output.line("The row of job_results:", style="bold")
        output.fields({key: job[key] for key in ROW} | {"result": job["result"]})
    return SUCCESS if job["status"] == "completed" and run["state"]["name"] == "Completed" else FAILED
