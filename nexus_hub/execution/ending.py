"""End of a process that callers wait at, step by step."""

from enum import IntEnum


class Ending(IntEnum):
    """Steps of a process's end, as those see it who wait for calls."""

    NOT_YET = 0
    DRAINING = 1
    """Whoever is cut off from now on has not left by itself."""
    HANDLES = 2
    """Callers that take a handle for a call that goes on get it now."""
    ALL = 3
    """Nobody waits any longer."""
