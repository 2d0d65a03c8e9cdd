"""Results of calls, cut out of the messages that bring them: passed on as they were sent, never parsed as a whole.

The SDK gets the rest of the message, with a small stub in the place of each large value and of each that it can't read
though PostgreSQL can store it. What it still checks is the form of the message and of what is small.
"""

import re
from collections.abc import Iterator
from typing import Any

from nexus_hub.json_object import JsonObject

MEMBER = "nexus-hub/result"
"""The member of a result that holds what was cut out of its message."""
LARGE_VALUE_BYTES = 64 * 1024
DEEPEST = 1000
"""A deeper text is left to the SDK, which refuses it."""

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb'[^"\[\]{}]++|' + _STRING
_NESTED = _FLAT
for _ in range(6):
    _NESTED = _FLAT + rb"|[\[{](?:" + _NESTED + rb")*+[\]}]"
_TO_BRACKET = re.compile(rb"(?:" + _NESTED + rb")*+([\[\]{}])", re.DOTALL)
"""Whatever comes up to a bracket; brackets that are not nested deeply are passed over with what they hold."""
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_BARE = re.compile(rb'[^\s,:"\[\]{}]++')
_BLANK = re.compile(rb"[ \t\r\n]*+")
_TO_WORD = re.compile(rb'(?:[^"NI]++|' + _STRING + rb")*+[NI]", re.DOTALL)
"""A NaN or an Infinity, which JSON does not know."""
_CONTROL = re.compile(rb"[\x00-\x1f]")
_WITHOUT_CONTROL = re.compile(rb'(?:[^"]++|"(?:[^"\\\x00-\x1f]++|\\.)*+")*+')
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F]"
_HARD_TO_READ = (
    re.compile(_HIGH + rb"(?!" + _LOW + rb")|(?<!" + _HIGH + rb")" + _LOW),
    re.compile(rb"(?<![0-9])[0-9]{4000}"),
)
"""Lone surrogates and long numbers, which the SDK's parser may refuse."""
MOST_MEMBERS = 64
"""An object of more members is left to the SDK."""
HARD_DEPTH = 100
"""Nesting that the SDK's parser may refuse."""

TAIL_BYTES = 2048
_SIMPLE = rb'"[^"\\]*+"|[^\s,:"\[\]{}\\]++|\{(?:[^"{}\\]++|"[^"\\]*+")*+\}'
_TAIL = re.compile(rb'((?:[ \t\r\n]*,[ \t\r\n]*"[^"\\]*"[ \t\r\n]*:[ \t\r\n]*(?:' + _SIMPLE + rb"))*)[ \t\r\n]*\}\Z")
"""The simple members at the end of an object. No backslash is in them, so that each of their quotes begins or ends a
text, and as they end outside of one they begin outside of one; and what stands before an object's end is its own."""

_CONTENTS = {b'"content"', b'"contents"', b'"messages"', b'"structuredContent"'}
"""Members that tell a result of a call from other answers."""
_STUBS = {b"{": b"{}", b"[": b"[]", b'"': b'""'}


class NoCutError(Exception):
    """A message that holds no result of a call, or none that can be cut out."""


class LargeValueError(NoCutError):
    """A value that does not end within `LARGE_VALUE_BYTES`."""


class _Cursor:
    """A place in a JSON text that moves forward over values, none of them large."""

    def __init__(self, text: bytes, position: int = 0) -> None:
        self.text = text
        self.position = position
        self.deepest = 0
        self._limit = len(text)

    def skip_blank(self) -> bytes:
        """Pass over white space; the character that comes next."""
        found = _BLANK.match(self.text, self.position)
        self.position = found.end() if found else self.position
        return self.text[self.position : self.position + 1]

    def take(self, expected: bytes) -> None:
        """Pass over a character that has to come."""
        if self.skip_blank() != expected:
            raise NoCutError
        self.position += 1

    def skip_value(self) -> None:
        """Pass over a value of any kind.

        Raises:
            LargeValueError: it is large; the cursor stays before it.
        """
        kind, began = self.skip_blank(), self.position
        self._limit = min(len(self.text), began + LARGE_VALUE_BYTES)
        try:
            if kind in (b"{", b"["):
                self._skip_nested()
            else:
                self._skip(_WHOLE_STRING if kind == b'"' else _BARE)
        except LargeValueError:
            self.position = began
            raise

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        found = pattern.match(self.text, self.position, self._limit)
        whole = self._limit == len(self.text)
        if found is None or (found.end() == self._limit and not whole):
            raise NoCutError if whole else LargeValueError
        self.position = found.end()

    def _skip_nested(self) -> None:
        depth = 1
        self.position += 1
        while depth:
            self._skip(_TO_BRACKET)
            depth += 1 if self.text[self.position - 1] in b"[{" else -1
            if depth > DEEPEST:
                raise NoCutError
            self.deepest = max(self.deepest, depth)

    def members(self) -> Iterator[tuple[bytes, int]]:
        """Give each member's name and where its value begins; a value that is not passed over meanwhile is skipped."""
        self.take(b"{")
        if self.skip_blank() == b"}":
            self.position += 1
            return
        while True:
            self.skip_blank()
            began = self.position
            self._limit = min(len(self.text), began + LARGE_VALUE_BYTES)
            self._skip(_WHOLE_STRING)
            name = self.text[began : self.position]
            self.take(b":")
            self.skip_blank()
            value = self.position
            yield name, value
            if self.position == value:
                self.skip_value()
            if self.skip_blank() == b"}":
                self.position += 1
                return
            self.take(b",")


class _Members:
    """The members of an object that ends where its text does, by their names.

    Where one is large, what follows it is looked for from the end: nobody goes through what is in between.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._values: dict[bytes, bytes | None] = {}
        self._large: tuple[int, int] | None = None
        self._deep: set[bytes] = set()
        cursor = _Cursor(text)
        for number, (name, value) in enumerate(cursor.members()):
            if number >= MOST_MEMBERS:
                raise NoCutError
            try:
                self._take(name, cursor, value)
            except LargeValueError:
                self._take_large(name, value)
                return
        if cursor.skip_blank():
            raise NoCutError

    def _take(self, name: bytes, cursor: _Cursor, value: int) -> None:
        cursor.deepest = 0
        cursor.skip_value()
        self._add(name, cursor.text[value : cursor.position])
        if cursor.deepest > HARD_DEPTH:
            self._deep.add(name)

    def _take_large(self, name: bytes, value: int) -> None:
        found = _TAIL.search(self._text, max(value, len(self._text) - TAIL_BYTES))
        if found is None:
            raise NoCutError
        self._add(name, None)
        self._large = value, found.start()
        tail = _Cursor(b"{" + found[1].lstrip(b" \t\r\n,") + b"}")
        for other, begin in tail.members():
            self._take(other, tail, begin)

    def _add(self, name: bytes, value: bytes | None) -> None:
        if name in self._values:
            raise NoCutError
        self._values[name] = value

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def names(self) -> list[bytes]:
        """List their names in their order."""
        return list(self._values)

    def value(self, name: bytes) -> bytes:
        """Give a member's value as it is."""
        value = self._values[name]
        return value if value is not None else self._text[slice(*(self._large or ()))]

    def stub(self, name: bytes) -> bytes:
        """Give a member's value, or what stands for it if it is large or can't be read by the SDK."""
        value = self._values[name]
        if value is None:
            return _STUBS.get(self._text[self._large[0] : self._large[0] + 1] if self._large else b"", b"0")
        if name not in self._deep and not any(pattern.search(value) for pattern in _HARD_TO_READ):
            return value
        return _STUBS.get(value[:1], b"0")

    def without(self, removed: set[bytes], replaced: dict[bytes, bytes]) -> bytes:
        """Write the object without some members, and with other values of some; as it was if there are none."""
        if not (removed | replaced.keys()) & self._values.keys():
            return self._text
        kept = (name + b":" + (replaced.get(name) or self.value(name)) for name in self._values if name not in removed)
        return b"{" + b",".join(kept) + b"}"


def cut(message: bytes) -> tuple[bytes, JsonObject | None]:
    """Cut the result of a call out of a message: the message as the SDK is to have it, and the result."""
    if b'"result"' not in message:
        return message, None
    try:
        rest, text = _cut(message)
    except NoCutError:
        return message, None
    return rest, JsonObject(text)


def take(result: dict[str, Any]) -> JsonObject | None:
    """Take what was cut out of the message that this is the rest of; a server can't put one there."""
    found = result.pop(MEMBER, None)
    return found if isinstance(found, JsonObject) else None


def _cut(message: bytes) -> tuple[bytes, bytes]:
    envelope = _Members(message.strip(b" \t\r\n"))
    names = envelope.names()
    if b'"result"' not in names or not {b'"jsonrpc"', b'"id"', b'"result"'}.issuperset(names):
        raise NoCutError
    result = _Members(envelope.value(b'"result"').strip(b" \t\r\n"))
    if not _CONTENTS.intersection(result.names()):
        raise NoCutError
    text = _without_transport(result)
    if not _is_storable(text):
        raise NoCutError
    if (b"NaN" in text or b"Infinity" in text) and _TO_WORD.match(text):
        raise NoCutError
    stubs = [member + b":" + result.stub(member) for member in result.names()]
    parts = [member + b":" + envelope.value(member) for member in names if member != b'"result"']
    return b"{" + b",".join([*parts, b'"result":{' + b",".join(stubs) + b"}"]) + b"}", text


def _is_storable(text: bytes) -> bool:
    """Tell if a text is UTF-8 without raw control characters in its strings, which PostgreSQL does not take."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(text) is None or _WITHOUT_CONTROL.fullmatch(text) is not None


def _without_transport(result: _Members) -> bytes:
    """Write a result without what only the transport needs: its type, and what the server says of itself."""
    meta = b'"_meta"'
    if meta not in result or not result.value(meta).startswith(b"{"):
        return result.without({b'"resultType"'}, {})
    inner = _Members(result.value(meta))
    server = b'"io.modelcontextprotocol/serverInfo"'
    if server not in inner:
        return result.without({b'"resultType"'}, {})
    if inner.names() == [server]:
        return result.without({b'"resultType"', meta}, {})
    return result.without({b'"resultType"'}, {meta: inner.without({server}, {})})
