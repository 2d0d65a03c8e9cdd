"""Messages out of what a child writes: one a line, or in the ways that servers write them instead."""

from collections.abc import Iterator

from nexus_hub.upstream.messages import Item, is_cut_off, read_messages

_BLANK = b" \t\r\n\0"


class LineTooLongError(Exception):
    """A line over the limit; `size` is how much of it came."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(size)


class Lines:
    """Takes bytes as they come and gives the messages in them; each byte is looked at a bounded number of times.

    A message may take many lines, as pretty-printed JSON does, or lack its newline: then the pause after it tells that
    it is complete.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._is_line_begun = False
        self._begun = bytearray()
        self._indent = 0
        self._retry_at = 0

    @property
    def waiting(self) -> bool:
        """True if something came that is no whole message yet."""
        return bool(self._begun) or self._is_line_begun

    def feed(self, data: bytes) -> Iterator[Item]:
        """Take what came next, and give the messages that are complete.

        Raises:
            LineTooLongError: a message is over the limit.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._tail += end
            line, self._tail, self._is_line_begun = bytes(self._tail), bytearray(), False
            self._check(len(line))
            yield from self._take(line)
        self._tail += rest
        self._is_line_begun = self._is_line_begun or bool(rest.strip(_BLANK))
        self._check(len(self._tail))

    def settle(self, *, give_up: bool = False) -> list[Item]:
        """Read what is there after a pause; a line that has not ended is let go only if it is to be given up."""
        unfinished = self._tail.strip(_BLANK)
        if unfinished and not unfinished.endswith((b"}", b"]")) and not give_up:
            return []
        whole = bytes(self._begun + self._tail)
        items = read_messages(whole) if whole.strip(_BLANK) else []
        if unfinished and is_cut_off(items) and not give_up:
            return []
        self._begun, self._tail, self._is_line_begun = bytearray(), bytearray(), False
        return items

    def _check(self, size: int) -> None:
        if len(self._begun) + size > self._limit:
            raise LineTooLongError(len(self._begun) + size)

    def _take(self, line: bytes) -> list[Item]:
        if not line.strip(_BLANK):
            return []
        if self._begun:
            return self._continue(line)
        items = read_messages(line)
        if not is_cut_off(items):
            return items
        self._begun = bytearray(line + b"\n")
        self._indent, self._retry_at = _indent(line), 0
        return []

    def _continue(self, line: bytes) -> list[Item]:
        """Add a line to a message that was begun; one that is a message by itself ends that."""
        if line.lstrip().startswith(b"{") and b'"jsonrpc"' in line and not is_cut_off(items := read_messages(line)):
            return [*self._let_go(), *items]
        self._begun += line + b"\n"
        if line.strip()[:1] not in (b"}", b"]") or _indent(line) > self._indent or len(self._begun) < self._retry_at:
            return []
        items = read_messages(bytes(self._begun))
        if is_cut_off(items):
            self._retry_at = 2 * len(self._begun)
            return []
        self._begun.clear()
        return items

    def _let_go(self) -> list[Item]:
        begun, self._begun = bytes(self._begun), bytearray()
        return read_messages(begun)


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip())
