"""Trace contexts as they travel: in headers of HTTP, in the `_meta` of MCP, on rows of jobs.

Whatever is not exactly what W3C Trace Context allows counts as not sent: no request fails by it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version 00 alone: of a later one nobody knows what its further members would mean."""
_TRACESTATE = re.compile("[ -~]{1,512}")
"""Source: W3C Trace Context, tracestate: 512 characters must be passed on, more need not be."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: the span below which, or linked to which, others begin."""

    traceparent: str
    tracestate: str | None = None

    @classmethod
    def read(cls, traceparent: object, tracestate: object = None) -> Self | None:
        """Read one; None if it is none. A bad `tracestate` is left out."""
        if not isinstance(traceparent, str) or not _TRACEPARENT.fullmatch(traceparent):
            return None
        good = isinstance(tracestate, str) and _TRACESTATE.fullmatch(tracestate)
        return cls(traceparent, str(tracestate) if good else None)

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """Read it from the headers of a request, which name it once."""
        found: dict[bytes, bytes | None] = {}
        for name, value in headers:
            if (key := name.lower()) in {b"traceparent", b"tracestate"}:
                found[key] = None if key in found else value
        return cls.read(_text(found.get(b"traceparent")), _text(found.get(b"tracestate")))

    @classmethod
    def from_meta(cls, meta: object) -> Self | None:
        """Read it from the `_meta` of an MCP request. Source: MCP 2026-07-28, and SEP-414."""
        return cls.read(meta.get(TRACEPARENT), meta.get(TRACESTATE)) if isinstance(meta, Mapping) else None

    @property
    def trace_id(self) -> str:
        """The trace's id: 32 hex digits."""
        return self.traceparent[3:35]

    def put_into(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Give `_meta` with this context in the place of the one that it holds."""
        kept = {key: value for key, value in meta.items() if key not in {TRACEPARENT, TRACESTATE}}
        return kept | self.members()

    def members(self) -> dict[str, str]:
        """Give the members of `_meta`, which are the headers of HTTP too."""
        state = {} if self.tracestate is None else {TRACESTATE: self.tracestate}
        return {TRACEPARENT: self.traceparent} | state


def find_trace_id(traceparent: str | None) -> str | None:
    """Give the id of the trace that a row's context names."""
    return None if traceparent is None else traceparent[3:35]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
