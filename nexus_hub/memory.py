"""Memory of the process: what is large goes back to the system when it is free.

The functions are glibc's; with another C library they do nothing.
"""

import ctypes
import gc
from typing import Any

LARGE_BLOCK_BYTES = 1024 * 1024
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Names of glibc's malloc.h."""


def return_large_blocks() -> None:
    """Let each large block be a mapping of its own.

    glibc raises that threshold up to 32 MiB with each large block that is freed; later ones then lie on the heap, from
    where they don't go back while anything above them is in use.
    """
    if mallopt := _find("mallopt"):
        mallopt(_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(_TRIM_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(_ARENA_MAX, 1)


def keep_started() -> None:
    """Leave what the process has made up to now, such as its modules, out of all garbage collections to come.

    A large body or result brings many of them, and each would go through all of that again.
    """
    gc.collect()
    gc.freeze()


def keep_made() -> None:
    """Leave what has been made until now out of all garbage collections to come, without a collection first.

    To be called a few times while something large is made that stays: what is garbage by then stays, too, where only a
    collection would find it.
    """
    gc.freeze()


def trim() -> None:
    """Give the free pages of the heap back; it takes some milliseconds, in which other threads go on."""
    if malloc_trim := _find("malloc_trim"):
        malloc_trim(0)


def _find(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
