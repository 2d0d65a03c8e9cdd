"""The console blocks of the documentation: read from Markdown, run on a terminal, compared with what is shown.

A block marked `console` holds commands, each led by `$ ` and gone on with by `> `, and below a command what it shows.
In what is shown `...` stands for anything within a line, and alone on a line for any number of lines; runs of blanks
count as one. A command must exit with 0.
"""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST_SECONDS = 300
_SCRIPT = '[ -e "$STATE" ] && . "$STATE"; eval "$1"; code=$?; export -p > "$STATE"; exit $code'


@dataclass
class Example:
    """One command of a document, and the lines that it is said to show."""

    command: str
    shown: list[str] = field(default_factory=list)

    def agrees(self, written: str) -> bool:
        """Whether a command that wrote this shows what the document says; without lines it says nothing."""
        pattern = "".join(_pattern(line) for line in self.shown)
        return not self.shown or re.fullmatch(pattern, f"{_plain(written)}\n") is not None


def examples(markdown: str) -> Iterator[Example]:
    """The commands of all console blocks, in order."""
    for block in BLOCK.findall(markdown):
        example: Example | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if example is not None:
                    yield example
                example = Example(line[2:])
            elif example is None:
                raise ValueError(f"a console block does not begin with a command: {line}")
            elif line.startswith("> ") and not example.shown:
                example.command += f"\n{line[2:]}"
            else:
                example.shown.append(line)
        if example is not None:
            yield example


class Terminal:
    """A terminal in a directory; what one command exports, the next one has."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {**environment, "STATE": str(directory / ".exported"), "TERM": "xterm", "COLUMNS": "120"}

    def run(self, command: str) -> tuple[int, str]:
        """Run a command to its end; its exit code, and what the terminal shows."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", _SCRIPT, "bash", command],
            env=self._environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            written = _read(ours, process)
        finally:
            os.close(ours)
            process.kill()
        return process.wait(), written


def _read(terminal: int, process: "subprocess.Popen[bytes]") -> str:
    """All that is written until the process has ended; what it leaves running may keep the terminal open."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    written = bytearray()
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        readable, _, _ = select.select([terminal], [], [], 0 if ended else 0.1)
        chunk = b""
        with suppress(OSError):  # the last writer has closed it
            chunk = os.read(terminal, 65536) if readable else b""
        if ended and not chunk:
            return written.decode(errors="replace")
        if readable and not chunk:
            time.sleep(0.05)
        written += chunk
    raise TimeoutError(f"after {_LONGEST_SECONDS} s: {written.decode(errors='replace')[-2000:]}")


def _plain(written: str) -> str:
    lines = _ESCAPES.sub("", written).replace("\r", "").rstrip().split("\n")
    return "\n".join(_squeezed(line) for line in lines)


def _squeezed(line: str) -> str:
    return re.sub(r"[ \t]+", " ", line.rstrip())


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    return ".*?".join(re.escape(part) for part in _squeezed(line).split("...")) + r"\n"
