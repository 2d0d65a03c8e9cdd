"""Places of defects: frames without values and messages, which may hold anything."""

import re
import traceback
from collections.abc import Iterable

FRAMES = 6
"""The number of frames that are shown, from the innermost outwards."""
_FRAME = re.compile(r'^[ |]*File "(?P<file>[^"]+)\.py", line (?P<line>\d+), in (?P<function>[\w<>.]+)', re.MULTILINE)
_CLASS = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")


def place_of(error: BaseException) -> str:
    """Write the innermost frames of an error as `folder/file.py:line function`, the outermost of them first.

    Of a group of errors the first one counts.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    return _join((frame.filename.removesuffix(".py"), str(frame.lineno), frame.name) for frame in frames[-FRAMES:])


def read_traceback(text: str) -> tuple[str, str]:
    """Read the class and the place of an error from a traceback that somebody has written out."""
    found = list(_FRAME.finditer(text))
    rest = text[found[-1].end() :] if found else ""
    said = next((line for line in rest.splitlines() if line and not line.startswith(" ")), "")
    kind = _CLASS.match(said)
    frames = [(frame["file"], frame["line"], frame["function"]) for frame in found]
    return kind[0] if kind else "an error", _join(frames[-FRAMES:])


def _join(frames: Iterable[tuple[str, str, str]]) -> str:
    """Two parts of a path tell modules apart, and nothing of where the hub is installed."""
    places = (f"{'/'.join(file.rsplit('/', 2)[-2:])}.py:{line} {function}" for file, line, function in frames)
    return " > ".join(places) or "no frame"
