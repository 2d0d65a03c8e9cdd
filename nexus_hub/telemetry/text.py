"""Text from outside, made safe to show: in lines, on terminals, in Markdown. Data stays data on every surface."""

import re
from itertools import groupby
from unicodedata import category

LONGEST_NAME = 120
LONGEST_LINE = 500
SPACES = "\n\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
"""White space that a text of several lines may hold."""
_UNUSUAL = re.compile(r"[^ -~]+")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that show nothing though Unicode counts them as letters, marks or symbols.

Source: Unicode 15, DerivedCoreProperties, Default_Ignorable_Code_Point, and the empty Braille pattern.
"""
_EMOJI_STYLE = "\ufe0f"
_MARKS_LIMIT = 4
"""Accents on one letter; no living script needs more, and a pile of them reaches over other lines."""
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ,-]|_+(?=[A-Za-z0-9])|(?<=[0-9])\.(?=[0-9]))*")
"""Text in which Markdown finds nothing: no link by itself, no emphasis, no HTML."""


def printable(text: str, *, longest: int = LONGEST_NAME) -> str:
    """Write a text as one line of at most so many characters, in logs and in Prefect.

    Control, bidirectional, zero-width and other invisible characters are spelled out, and backslashes doubled, so
    that no text looks like one that was spelled out.
    """
    if text.isascii() and text.isprintable() and "\\" not in text and len(text) <= longest:  # nearly every name
        return text
    spelled = spell_out(text[: longest + 1].replace("\\", "\\\\"))
    return spelled if len(spelled) <= longest else f"{spelled[: longest - 1]}…"


def markdown(text: str, *, longest: int = LONGEST_NAME) -> str:
    """Write a text as one line of Markdown that means nothing but itself: plain words, or code."""
    shown = printable(text, longest=longest)
    if _PLAIN.fullmatch(shown):
        return shown
    ticks = max((len(list(run)) for one, run in groupby(shown) if one == "`"), default=0)
    fence = "`" * (ticks + 1)
    pad = " " if not shown.strip() or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def spell_out(text: str, *, keep: str = "") -> str:
    """Spell out what would command a terminal, hide text or reorder it, as `\\u202e`; `keep` lists exceptions."""
    return _UNUSUAL.sub(lambda run: _spell(run[0], text[run.start() - 1] if run.start() else " ", keep), text)


def _spell(run: str, before: str, keep: str) -> str:
    shown, marks = [], 0
    for one in run:
        marks = marks + 1 if category(one)[0] == "M" else 0
        flood = marks > _MARKS_LIMIT or (marks and before.isspace())
        hidden = not one.isprintable() or _INVISIBLE.match(one)
        emoji = one == _EMOJI_STYLE and marks == 1 and category(before) == "So"
        shown.append(one if one in keep or emoji or not (flood or hidden) else _code(one))
        before = before if marks else one
    return "".join(shown)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
