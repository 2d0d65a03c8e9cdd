"""Text from outside, made safe to show on one line."""

import re

LONGEST_NAME = 120
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that show nothing though Unicode counts them as letters, marks or symbols.

Source: Unicode 15, DerivedCoreProperties, Default_Ignorable_Code_Point, and the empty Braille pattern.
"""


def printable(text: str, *, longest: int = LONGEST_NAME) -> str:
    """Spell out control, bidirectional, zero-width and other invisible characters of a text; cut it if it is long."""
    if text.isascii() and text.isprintable() and "\\" not in text and len(text) <= longest:  # nearly every name
        return text
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(
        one if one.isprintable() and not _INVISIBLE.match(one) else f"\\u{ord(one):04x}"
        for one in cut.replace("\\", "\\\\")
    )
