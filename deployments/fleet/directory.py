"""The directory of a fleet: it holds nothing of anybody else, and is removed at the end.

One that a fleet made itself has a lock, which ends with the program that holds it, however that ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nexus_hub.errors import UnsafeHome

PREFIX = "nexus-fleet-"
LOCK = "fleet.lock"
"""The name of the lock, in directories that are to be removed alone."""


def make_directory(*, keep: bool) -> tuple[Path, int | None]:
    """Make a directory, and take its lock unless it is to be kept; the handle of the lock stays open."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)  # for PostgreSQL's own user
    if keep:
        return directory, None
    draft = directory / "lock.new"
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    draft.rename(directory / LOCK)  # nobody sees it free
    return directory, handle


def remove_left() -> Iterator[Path]:
    """Remove the directories that fleets of this user made whose programs were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        directory = lock.parent
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # its own fleet has just removed it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
            yield directory
        finally:
            os.close(handle)


def require_empty(directory: Path) -> None:
    """Refuse a directory with anything in it: the end would remove that.

    Raises:
        UnsafeHome: it is neither missing nor empty.
    """
    try:
        is_empty = next(directory.iterdir(), None) is None
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnsafeHome(f"{directory} can't hold a fleet: {error.strerror}; name a missing or empty one.") from None
    if not is_empty:
        raise UnsafeHome(
            f"{directory} is not empty, and a fleet removes its directory at the end; name a missing or empty one."
        )
