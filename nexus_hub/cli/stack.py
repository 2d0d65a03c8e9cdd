"""The commands that start, stop and show the stack of one machine.

Whatever only a start needs is imported by it: to stop and to show must not wait for it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO

import psutil

from nexus_hub.cli.output import Output
from nexus_hub.errors import AlreadyRunning, StartFailed
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import state as states
from nexus_hub.stack.process import open_log
from nexus_hub.stack.state import PartState, StackState

if TYPE_CHECKING:
    from nexus_hub.stack.parts import Planner

SUCCESS, FAILED, INTERRUPTED = 0, 1, 130
STOP_SECONDS = 180


def up(
    settings: Settings,
    *,
    detach: bool = False,
    temporary: bool = False,
    as_json: bool = False,
    planner: Planner | None = None,
) -> int:
    """Start the stack: here until Ctrl-C, or in the background until `down`; the exit code.

    A temporary one also ends when its standard input does, which is when whoever holds the other end is gone, however
    that came about; it leaves no home.

    Raises:
        HubError: why it can't be started.
    """
    output, home = Output(as_json=as_json), Home(settings.home)
    try:
        if (pid := home.running_pid()) is not None:
            raise AlreadyRunning(home.path, pid)
        output.line(f"Starting the hub of {home.path} ...")
        if detach:
            return _up_detached(settings, home, output, temporary=temporary)
        with _removed(home) if temporary else nullcontext():
            return _up_here(settings, home, output, planner, temporary=temporary)
    except AlreadyRunning as running:
        _say(output, running.message, home, settings)
        return SUCCESS
    except StartFailed as failure:
        if failure.tail:
            output.error(failure.tail, style="dim")
        raise


def down(settings: Settings, *, as_json: bool = False) -> int:
    """Stop the stack of the home and wait until it is gone; the exit code."""
    output, home = Output(as_json=as_json), Home(settings.home)
    pid = home.running_pid()
    if pid is None:
        _report(output, f"The hub of {home.path} is not running.", {"stopped": False})
        return SUCCESS
    deadline = time.monotonic() + STOP_SECONDS
    told: int | None = None
    while (pid := home.running_pid()) is not None:
        if pid and pid != told:
            os.kill(pid, signal.SIGTERM)
            told = pid
        if time.monotonic() > deadline:
            output.error(f"The hub of {home.path} (process {pid}) does not stop; see {home.logs / 'up.log'}.")
            return FAILED
        time.sleep(0.1)
    _wait_until_gone(told, deadline)
    _report(output, f"The hub of {home.path} is stopped.", {"stopped": True})
    return SUCCESS


def _wait_until_gone(pid: int | None, deadline: float) -> None:
    """Wait for the supervisor's own end, which comes a moment after it lets go of the home."""
    with suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(pid) if pid else None
        while supervisor and supervisor.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.02)


def status(settings: Settings, *, as_json: bool = False) -> int:
    """Show the parts; the exit code is 0 only if all of them are healthy."""
    output, home = Output(as_json=as_json), Home(settings.home)
    state = current(settings, home)
    running = state.phase != "stopped"
    parts = [part for part in state.parts if part.kind == "part"]
    if as_json:
        output.data(_document(state))
    elif running:
        columns = {key: key.capitalize() for key in ("name", "state", "pid", "port", "restarts", "started_at")}
        output.table([_row(part) for part in parts], columns | {"started_at": "Since"}, "")
        for name, loops in [("up", state.failing), *((part.name, part.failing) for part in parts)]:
            if loops:
                output.line(f"{name}: its loops {', '.join(loops)} failed lately; see its log", style="yellow")
        output.line(f"logs: {home.logs}", style="dim")
    elif settings.names_hub_elsewhere:
        output.line(f"No hub of {home.path} is running. To look at that of NEXUS_URL: nexus-hub doctor")
    else:
        output.line(f"The hub of {home.path} is not running; start it with: nexus-hub up")
    return SUCCESS if running and all(part.healthy for part in parts) else FAILED


def migrate(settings: Settings, *, partition: bool = False) -> int:
    """Bring the schema up to date, and put the jobs into partitions where that is asked for; the exit code.

    Raises:
        HubError: why it can't be done.
    """
    from nexus_hub.stack.migration import find_later_migration, migrate_hub, partition_hub

    output = Output(as_json=False)
    for name in asyncio.run(migrate_hub(settings)):
        output.line(f"applied {name}")
    if (newest := asyncio.run(find_later_migration(settings))) is not None:
        output.line(f"A later release has brought the schema to migration {newest}; it was left as it is.")
    else:
        output.line("The schema is up to date.", style="green")
    if partition:
        changed = asyncio.run(partition_hub(settings))
        output.line(f"The jobs are in partitions by day{'' if changed else ' already'}.", style="green")
    return SUCCESS


def current(settings: Settings, home: Home) -> StackState:
    """The state of the home's stack, also of one that is stopped."""
    pid = home.running_pid()
    stored = states.read(home.state_file) if pid is not None else None
    if pid is None:
        ports = {"api": settings.port, "prefect": settings.prefect_port}
        parts = [PartState(name=name, port=ports.get(name), phase="stopped") for name in _part_names(settings)]
        return StackState(phase="stopped", parts=parts)
    # A state of an earlier supervisor says nothing about this one.
    return stored if stored and stored.pid == pid else StackState(phase="starting", pid=pid)


def _part_names(settings: Settings) -> list[str]:
    """Name the services that `up` would run."""
    optional = {"postgres": settings.embeds_postgres, "prefect": settings.embeds_prefect}
    return [*(name for name, wanted in optional.items() if wanted), "api", "worker"]


@contextmanager
def _removed(home: Home) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(home.path, ignore_errors=True)


def _up_here(settings: Settings, home: Home, output: Output, planner: Planner | None, *, temporary: bool) -> int:
    from nexus_hub.cli.stack_view import StartView
    from nexus_hub.stack.hub import serve
    from nexus_hub.stack.parts import whole_stack
    from nexus_hub.telemetry.logs import configure_logging

    configure_logging(settings.log_format, settings.log_level)
    view = StartView(output.console, quiet=output.as_json)

    def show(state: StackState) -> None:
        view.show(state)
        if state.phase == "ready" and view.close():
            stopping = "Stop it with Ctrl-C, or from elsewhere with: nexus-hub down"
            _welcome(output, settings, home, state, stopping, is_logged=not output.is_terminal)

    async def serving() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if temporary:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)  # nothing is ever written there
        await serve(settings, stop, on_change=show, planner=planner or whole_stack)

    with view:
        asyncio.run(serving())
    return SUCCESS


def _up_detached(settings: Settings, home: Home, output: Output, *, temporary: bool) -> int:
    """Start `up` as a process of its own session and follow its state until all is ready."""
    from nexus_hub.stack.hub import prepare_home

    prepare_home(settings)
    log = home.logs / "up.log"
    handle = open_log(log)
    said = log.open("rb")  # a temporary home is gone before it can be read
    said.seek(0, os.SEEK_END)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "nexus_hub", "up", *(["--temporary"] if temporary else [])],
            env=_named(settings, home) | {"PYTHONSAFEPATH": "1"},
            cwd=home.path,
            stdin=None if temporary else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    try:
        with said:
            stopping = "It stops with what has started it." if temporary else "Stop it with: nexus-hub down"
            return _follow(child, settings, home, output, said, stopping)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        child.terminate()
        child.wait()
        return INTERRUPTED


def _follow(
    child: subprocess.Popen[bytes], settings: Settings, home: Home, output: Output, said: BinaryIO, stopping: str
) -> int:
    from nexus_hub.cli.stack_view import StartView

    with StartView(output.console, quiet=output.as_json) as view:
        while child.poll() is None:
            state = states.read(home.state_file)
            if state and state.pid == child.pid:
                view.show(state)
                if state.phase == "ready":
                    break
            time.sleep(0.1)
    if child.returncode is not None:
        output.error(said.read().decode(errors="replace").rstrip(), style=None)
        return child.returncode or FAILED
    _welcome(output, settings, home, current(settings, home), stopping)
    return SUCCESS


def _named(settings: Settings, home: Home) -> dict[str, str]:
    """The environment with the settings that may have come from elsewhere."""
    return dict(os.environ) | {
        "NEXUS_HOME": str(home.path),
        "NEXUS_HOST": settings.host,
        "NEXUS_PORT": str(settings.port),
        "NEXUS_PREFECT_PORT": str(settings.prefect_port),
    }


def _welcome(
    output: Output, settings: Settings, home: Home, state: StackState, stopping: str, *, is_logged: bool = False
) -> None:
    """Say that the hub is up, and how to get to it; no link that logs in goes to where it may be kept as a log."""
    from nexus_hub.cli.console import make_operators_link

    link = make_operators_link(settings) if output.as_json or not is_logged else None
    if output.as_json:
        urls = {"api_url": settings.listen_url, "prefect_url": settings.prefect_url, "console_url": link}
        output.data(_document(state) | urls)
        sys.stdout.flush()
        return
    output.line(f"The hub is up: {settings.listen_url}", style="bold green")
    output.line(f"  the console, logged in once: {link or 'by the link of nexus-hub console'}")
    _addresses(output, settings, home)
    output.line(stopping, style="dim")


def _addresses(output: Output, settings: Settings, home: Home) -> None:
    key = "NEXUS_SERVICE_KEY" if settings.service_key else home.service_key_file
    output.line(f"  the operator's key: {key}")
    output.line(f"  Prefect's UI: {settings.prefect_url.removesuffix('/api')}")
    if settings.embeds_prefect:
        auth = "PREFECT_API_AUTH_STRING" if settings.prefect_api_auth_string else home.prefect_auth_file
        output.line(f"  its user and password: {auth}")
    output.line(f"  logs: {home.logs}")


def _say(output: Output, message: str, home: Home, settings: Settings) -> None:
    if output.as_json:
        output.data(_document(current(settings, home)) | {"already_running": True})
    else:
        output.line(message)


def _report(output: Output, text: str, document: dict[str, bool]) -> None:
    if output.as_json:
        output.data(document)
    else:
        output.line(text)


def _document(state: StackState) -> dict[str, object]:
    parts = [part.model_dump(mode="json", exclude={"kind", "created"}) for part in state.parts if part.kind == "part"]
    return {"phase": state.phase, "pid": state.pid, "failing": state.failing, "parts": parts}


def _row(part: PartState) -> dict[str, object]:
    since = part.started_at.astimezone().isoformat(timespec="seconds") if part.started_at else None
    shown = part.model_dump(include={"name", "pid", "port", "restarts"})
    return shown | {"state": "ready" if part.healthy else part.phase, "started_at": since}
