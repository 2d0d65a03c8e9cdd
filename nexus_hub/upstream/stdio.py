"""Upstream servers as child processes, and a log of what they write to standard error."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
from anyio.abc import Process
from mcp.client.stdio import get_default_environment

from nexus_hub.launch import launch_line
from nexus_hub.upstream.child import Child
from nexus_hub.upstream.config import StdioConfig

MAX_LOG_BYTES = 1024 * 1024


class ErrorLog(asyncio.Protocol):
    """Writes what arrives to a file of mode 0600; a full one becomes `<name>.1`, in the place of an older one.

    A child's standard error may hold secrets, so it goes nowhere else.
    """

    def __init__(self, path: Path, limit: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file = _open_private(path)

    def data_received(self, data: bytes) -> None:
        """Append, starting a new file when this one is full; what the disk does not take is lost, not the child."""
        with suppress(OSError):
            self._append(data)

    def _append(self, data: bytes) -> None:
        if self._file.tell() + len(data) > self._limit:
            with suppress(FileNotFoundError):  # it is there already, where a new one could not be made
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            full, self._file = self._file, _open_private(self._path)
            full.close()
        self._file.write(data[-self._limit :])

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the file."""
        del exc
        self._file.close()


def _open_private(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    file = os.fdopen(descriptor, "ab", buffering=0)
    file.seek(0, os.SEEK_END)
    return file


@asynccontextmanager
async def _error_output(path: Path | None) -> AsyncGenerator[IO[str]]:
    """Open the child's standard error: a pipe into the log, or nowhere."""
    if path is None:
        with Path(os.devnull).open("w") as nowhere:  # noqa: ASYNC230 - it never blocks
            yield nowhere
        return
    reader, writer = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "w"), strict=True))
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: ErrorLog(path), reader)
    try:
        yield writer
    finally:
        writer.close()
        await asyncio.sleep(0)
        transport.close()


async def _start(command: Sequence[str], environment: Mapping[str, str], errors: IO[str]) -> Process:
    """Start a command in a session of its own; it is told to end when this process is gone, however that ends.

    By SIGTERM, which programs such as npx pass on to those that they have started.

    Raises:
        OSError: it can't be started.
    """
    reading, writing = os.pipe()
    try:
        line = launch_line(command, death_signal=signal.SIGTERM, failure_to=writing, is_marked=True)
        process = await anyio.open_process(
            line, env=environment, stderr=errors, start_new_session=True, pass_fds=[writing]
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        await anyio.wait_readable(reading)
        failure = os.read(reading, 16)
        if failure:
            raise OSError(int(failure), os.strerror(int(failure)))
    except BaseException:
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
        raise
    finally:
        os.close(reading)
    return process


def _harmless_environment() -> dict[str, str]:
    """Make what every child gets; the programs that are installed beside the hub come last in its path."""
    harmless = get_default_environment()
    beside = str(Path(sys.executable).parent)
    return harmless | {"PATH": os.pathsep.join((harmless.get("PATH") or os.defpath, beside))}


@asynccontextmanager
async def stdio_streams(config: StdioConfig, log: Path | None, max_bytes: int) -> AsyncGenerator[Any]:
    """Start the command and give streams for the SDK; the child and all it started are gone when this ends."""
    environment = {name: value.get_secret_value() for name, value in config.env.items()}
    async with _error_output(log) as errors:
        process = await _start([config.command, *config.args], _harmless_environment() | environment, errors)
        async with Child(process, max_bytes).run() as streams:
            yield streams
