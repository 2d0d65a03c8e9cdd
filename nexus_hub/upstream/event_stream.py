"""Server-sent events of an upstream server, out of which results are cut before the SDK reads them."""

import re
from collections.abc import AsyncIterator

import httpx2

from nexus_hub.upstream.cut_results import CUT_RESULTS

_LINE_END = re.compile(rb"(\r\n|\r|\n)")
_DATA = b"data:"


class _CutEvents(httpx2.AsyncByteStream):
    """The body of a response, line by line; a line that is longer than `max_bytes` goes on as it comes."""

    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = bytearray()
        async for chunk in self._response.aiter_bytes():
            rest += chunk
            end = max(rest.rfind(b"\n", len(rest) - len(chunk)), rest.rfind(b"\r", len(rest) - len(chunk))) + 1
            if end:
                lines = bytes(rest[:end])
                del rest[:end]
                yield _cut_lines(lines)
            if len(rest) > self._max_bytes:
                yield bytes(rest)
                rest.clear()
        if rest:
            yield bytes(rest)

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


def _cut_lines(lines: bytes) -> bytes:
    if b'"result"' not in lines:
        return lines
    return b"".join(_cut_line(part) for part in _LINE_END.split(lines))


def _cut_line(line: bytes) -> bytes:
    if not line.startswith(_DATA):
        return line
    value = line[len(_DATA) :]
    return _DATA + CUT_RESULTS.cut(value)


def cut_events(response: httpx2.Response, max_bytes: int) -> httpx2.Response:
    """Give a response whose events are those of another one, less the results that were cut out."""
    return httpx2.Response(
        response.status_code,
        headers=plain_headers(response),
        stream=_CutEvents(response, max_bytes),
        request=response.request,
        extensions=response.extensions,
    )


def plain_headers(response: httpx2.Response) -> list[tuple[str, str]]:
    """Give a response's headers without those that say how its body was sent."""
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
