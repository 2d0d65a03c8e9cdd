"""Memory of the process: what is large goes back to the system as soon as it is free."""

import ctypes

LARGE_BLOCK_BYTES = 1024 * 1024
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""


def return_large_blocks() -> None:
    """Let each large block be a mapping of its own.

    glibc raises that threshold up to 32 MiB with each large block that is freed; later ones then lie on the heap, from
    where they don't go back while anything above them is in use. Other C libraries have no such function.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    mallopt(_TRIM_THRESHOLD, LARGE_BLOCK_BYTES)
