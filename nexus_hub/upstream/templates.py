"""Templates of URIs (RFC 6570), read backwards: the URIs that a template may have been made into."""

import re
from functools import cached_property

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

_EXPRESSION = re.compile(r"\{[^{}]*\}")


class Template:
    """A template; the more of it is plain text, the more it says of the URIs that match it.

    Of one that can't be read backwards, such as one with two variables that may hold slashes, only the plain text at
    its beginning and at its end is compared.
    """

    def __init__(self, text: str) -> None:
        plain = _EXPRESSION.split(text)
        self.text = text
        self.plain_length = sum(map(len, plain))
        self._head = plain[0]
        self._tail = plain[-1] if len(plain) > 1 else ""

    def matches(self, uri: str) -> bool:
        """Tell if a URI may have been made of the template; the time for it grows with its length, and no faster."""
        if not uri.startswith(self._head):
            return False
        if self._parsed is not None:
            return self._parsed.match(uri) is not None
        long_enough = len(uri) >= len(self._head) + len(self._tail)
        return long_enough and uri.endswith(self._tail) and uri != self.text

    @cached_property
    def _parsed(self) -> UriTemplate | None:
        try:
            return UriTemplate.parse(self.text)
        except InvalidUriTemplate:
            return None
