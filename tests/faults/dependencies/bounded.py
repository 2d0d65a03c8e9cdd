"""File systems that get full when they are told to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM = "2g"
TRIES = 200


class BoundedDirectory:
    """A directory in memory whose room can be taken away; only root can make one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room for one more byte."""
        self._filler.write_bytes(b"x")  # an empty file system would be given the size 0, which means no limit
        obstacle = ""
        for _ in range(TRIES):  # more may be written between the look and the deed
            if not (obstacle := self._resize(str(self._used()))):
                return
        raise OSError(f"{self.path} can't be made full: {obstacle}")

    def free(self) -> None:
        """Give the room back."""
        if obstacle := self._resize(ROOM):
            raise OSError(f"{self.path} can't be given room: {obstacle}")
        self._filler.unlink()

    def _used(self) -> int:
        status = os.statvfs(self.path)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def _resize(self, size: str) -> str:
        """Return what stood in the way, if anything did."""
        command = ("mount", "-o", f"remount,size={size}", str(self.path))
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


@contextmanager
def bounded(path: Path, mode: int) -> Iterator[BoundedDirectory]:
    """Put a file system of its own at a directory, which is made."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = f"size={ROOM},mode={mode:o}"
    subprocess.run(("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)), check=True)
    try:
        yield BoundedDirectory(path)
    finally:
        subprocess.run(("umount", "--lazy", str(path)), check=True)
