"""JSON read and written without loss: numbers of any size keep the form in which they were sent.

Python would write 1e5 as 100000.0 and has no float for 1e400. Such a number is read as a `Number`, which holds its
text; all others are ints and floats, as ever. Of a text with very many numbers the first ones keep their form.
"""

import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Self

_PLACE = secrets.token_hex(16)
"""A text that nobody can have sent: it stands for what is put in its place as it is."""
_BEYOND = "9" * 17
"""The exponent of a number whose own has more digits."""
MOST_FLOATS = 100_000
"""The floats of one text whose form is looked at."""
MOST_ODD = 10_000
"""The numbers of one text that keep a form of their own."""
LONGEST_INT = 4_000
_ODD_INT = re.compile("-0(?![0-9.eE])|(?<![0-9])[0-9]{4001}")
_ODD_INT_BYTES = re.compile(_ODD_INT.pattern.encode())
"""The integers that an int would not do for; that there is none saves a call for each of the others."""


class Number(Decimal):
    """A number and the text that it was sent as; exact, unless its exponent has more than 18 digits."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Read a number of JSON."""
        try:
            number = super().__new__(cls, text)
        except InvalidOperation:
            mantissa, _, exponent = text.lower().partition("e")
            sign = "-" if exponent.startswith("-") else ""
            number = super().__new__(cls, f"{mantissa[:20].rstrip('.')}e{sign}{_BEYOND}")
        number.text = text
        return number

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text,)


def read(text: str | bytes, **options: Any) -> Any:
    """Read JSON.

    Raises:
        json.JSONDecodeError: it is none.
    """
    forms = _Forms()
    odd_int = _ODD_INT.search(text) if isinstance(text, str) else _ODD_INT_BYTES.search(text)
    read_int = forms.read_int if odd_int else None
    return json.loads(text, parse_float=forms.read_float, parse_int=read_int, **options)


class _Forms:
    """Reads the numbers of one text, and looks at the form of so many of them: a bound on what that costs."""

    def __init__(self) -> None:
        self._floats = MOST_FLOATS
        self._odd = MOST_ODD

    def read_float(self, text: str) -> float | Number:
        number = float(text)
        if self._floats and self._odd:
            self._floats -= 1
            if repr(number) != text:
                self._odd -= 1
                return Number(text)
        return number

    def read_int(self, text: str) -> int | float | Number:
        if len(text) <= LONGEST_INT and text != "-0":
            return int(text)
        if self._odd:
            self._odd -= 1
            return Number(text)
        return float(text)


def write(value: Any, default: Callable[[Any], Any] | None = None, **options: Any) -> bytes:
    """Write a value as JSON, with what has a text of its own put in as it is; `default` is given what JSON lacks.

    Raises:
        ValueError: it holds a number that JSON does not know.
        UnicodeEncodeError: with `ensure_ascii=False` it holds half a surrogate pair.
    """
    texts: list[bytes] = []

    def put(one: Any) -> Any:
        text = getattr(one, "text", None)
        if isinstance(text, str | bytes):
            texts.append(text.encode() if isinstance(text, str) else text)
            return _PLACE
        if default is None:
            raise TypeError(f"{type(one).__name__} is no JSON.")
        return default(one)

    settings: dict[str, Any] = {"separators": (",", ":"), "allow_nan": False} | options
    before, *others = json.dumps(value, default=put, **settings).encode().split(f'"{_PLACE}"'.encode())
    return before + b"".join(part for pair in zip(texts, others, strict=True) for part in pair)
