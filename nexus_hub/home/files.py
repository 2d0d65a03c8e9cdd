"""Files that are written whole or not at all; most are for their owner alone."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Put the text in place of the file in one step, mode 0600."""
    replace_file(path, text.encode())


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put the bytes in place of the file in one step; nobody ever sees half of them, nor more than the mode allows."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if mode != 0o600:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, or nothing if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(path: Path, *, limit: int = 10 * 1024 * 1024, keep: int = 3, in_use: bool = False) -> None:
    """Move a log over the limit to `.1`, that one to `.2`, and so on; `keep` old ones stay.

    One that is in use is copied and emptied instead: who writes to it appends. Lines of that very moment are lost. Of
    one that has grown past the limit in the meantime only the end is kept, and of one that the full disk takes no copy
    of, nothing.
    """
    if not path.exists() or path.stat().st_size < limit:
        return
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    if not in_use:
        path.replace(path.with_name(f"{path.name}.1"))
        return
    try:
        _copy_end(path, path.with_name(f"{path.name}.1"), limit)
    finally:
        os.truncate(path, 0)


def rotate_all(directory: Path) -> None:
    """Rotate each log of a directory that is over the limit, whoever writes to it.

    Raises:
        OSError: one could not be put aside; it was emptied all the same.
    """
    failed: OSError | None = None
    for log in directory.glob("*.log"):
        try:
            rotate(log, in_use=True)
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed


def _copy_end(path: Path, aside: Path, limit: int) -> None:
    try:
        copy = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with path.open("rb") as log, os.fdopen(copy, "wb") as file:
            log.seek(max(0, path.stat().st_size - limit))
            file.write(log.read(limit))
    except OSError:
        aside.unlink(missing_ok=True)
        raise
