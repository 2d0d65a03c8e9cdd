"""Starting and ending the processes of the stack."""

import asyncio
import errno
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from nexus_hub.home.files import rotate
from nexus_hub.launch import launch_line

MARK = b"--- %s\n"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors of a disk that takes nothing: a program without its log is better than none."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine that a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, as its account if it has one; `death_signal` ends it with its parent."""

    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    directory: Path
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGKILL

    def launch_line(self) -> tuple[str, ...]:
        """The command line, by way of the launcher, which keeps the process id."""
        uid, gid = (self.account.uid, self.account.gid) if self.account else (None, None)
        return launch_line(self.arguments, death_signal=self.death_signal, uid=uid, gid=gid)


async def spawn(command: Command, log: Path) -> Process:
    """Start a program in a session of its own, its output at the end of the log."""
    handle = open_log(log)
    try:
        return await asyncio.create_subprocess_exec(
            *command.launch_line(),
            stdin=DEVNULL,
            stdout=handle,
            stderr=STDOUT,
            env=dict(command.env),
            cwd=command.directory,
            start_new_session=True,
        )
    finally:
        os.close(handle)


async def run(command: Command, log: Path) -> int:
    """Run a program to its end; its exit code."""
    process = await spawn(command, log)
    try:
        return await process.wait()
    finally:
        await end(process, signal.SIGTERM, grace=5)


async def output(command: Command) -> str:
    """Read what a program prints; empty if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command.launch_line(), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=dict(command.env), cwd=command.directory
    )
    printed, _ = await process.communicate()
    return printed.decode(errors="replace") if process.returncode == 0 else ""


def open_log(path: Path) -> int:
    """A file handle that appends to the log, which only its owner may read; to nowhere if the disk takes no file."""
    with suppress(OSError):
        rotate(path)
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def note(path: Path, text: str) -> None:
    """Write a line of the supervisor's own into a part's log."""
    with suppress(OSError), os.fdopen(open_log(path), "ab") as file:  # a full disk must not end the supervision
        file.write(MARK % text.encode())


async def end(process: Process, first: signal.Signals, *, grace: float) -> None:
    """Ask a process to end, wait, then kill what is left of it, its group and its descendants."""
    if process.returncode is not None:
        return
    family = descendants(process.pid)
    with suppress(ProcessLookupError):
        process.send_signal(first)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), grace)
    kill_rest(process.pid, family)
    await process.wait()


def kill_rest(leader: int, family: Iterable[psutil.Process]) -> None:
    """Kill a process group and those of a family that still live; a reused process id is left alone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in family:
        with suppress(psutil.Error):
            process.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """The children of a process, their children, and so on."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


async def gone(processes: Sequence[psutil.Process], *, within: float) -> list[psutil.Process]:
    """Wait for processes that may not be our children; those that still live when the time is over."""
    deadline = asyncio.get_running_loop().time() + within
    while alive := [process for process in processes if is_alive(process)]:
        if asyncio.get_running_loop().time() >= deadline:
            return alive
        await asyncio.sleep(0.05)
    return []


def is_alive(process: psutil.Process) -> bool:
    """Tell if the process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
