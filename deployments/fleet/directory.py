"""The directory of a fleet: it holds nothing of anybody else, and is removed at the end."""

import os
import tempfile
from pathlib import Path

from nexus_hub.errors import UnsafeHome

PREFIX = "nexus-fleet-"


def make_directory() -> Path:
    """Make a directory."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)  # for PostgreSQL's own user
    return directory


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
