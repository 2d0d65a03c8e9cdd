"""Results in answers as the bytes that came: the SDK writes a mark, and the text takes its place on the way out.

The SDK would read each result into its models and write it anew, which costs more than all the rest of a call, rewrites
numbers, and refuses what is odd. So it is given a small object, in place of which `Splice` puts the text.
"""

import secrets
from typing import Any

from starlette.types import Message, Send

_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
_ODD_LINE_ENDS = ("\x85", "\u2028", "\u2029")
"""Characters at which Python's `splitlines` ends a line; in JSON they stand within strings only."""


class Splice:
    """The texts of the results of one request, or of several that are answered over the same response."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}

    def hold(self, text: bytes) -> dict[str, Any]:
        """Keep the text of a result, and give what the SDK is to write in its place: nobody else can have made it."""
        mark = secrets.token_hex(16)
        self._texts[mark] = _keep_on_line(text)
        return {mark: 0}

    def wrap(self, send: Send) -> Send:
        """Give a `send` that puts the texts in their places; the length in the head of an answer is corrected."""
        start: Message | None = None

        async def send_spliced(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _has_length(message):
                start = message
                return
            if message["type"] == "http.response.body" and self._texts:
                message = {**message, "body": self._fill(message.get("body", b""))}
            if start is not None:
                head, start = start, None
                await send(_with_length(head, len(message.get("body", b""))))
            await send(message)

        return send_spliced

    def _fill(self, body: bytes) -> bytes:
        for mark, text in self._texts.items():
            for space in ("", " "):
                body = body.replace(f'{{"{mark}":{space}0}}'.encode(), text)
        return body


def _keep_on_line(text: bytes) -> bytes:
    """Write a JSON text so that no client of an event stream takes a part of it for the end of a line."""
    for end in _ODD_LINE_ENDS:
        if (raw := end.encode()) in text:
            text = text.replace(raw, b"\\u%04x" % ord(end))
    return text.translate(_LINE_ENDS)


def _has_length(start: Message) -> bool:
    return any(name.lower() == b"content-length" for name, _ in start["headers"])


def _with_length(start: Message, length: int) -> Message:
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": [*headers, (b"content-length", str(length).encode())]}
