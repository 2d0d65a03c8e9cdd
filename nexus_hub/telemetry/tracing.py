"""Traces: the one seam between the hub's work and OpenTelemetry.

While no traces are wanted a span costs a look at a variable, and nothing of OpenTelemetry's is imported. An attribute
holds a name, an id, a code or a count: never arguments, results, addresses, or words of users and servers.
"""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from nexus_hub.errors import InvalidSetting
from nexus_hub.telemetry.spans import CURRENT, NO_SPAN, Attributes, Kind, Span, Tracer
from nexus_hub.telemetry.trace_context import TraceContext

__all__ = ["NO_SPAN", "Attributes", "Kind", "Span", "TraceCallers"]  # of what comes from elsewhere

TraceCallers = Literal["trust", "link", "ignore"]
"""The use of a context that a caller sends: the trace goes on, a new one is linked to it, or it means nothing."""
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_tracer: Tracer | None = None


def is_on() -> bool:
    """Tell if spans are kept."""
    return _tracer is not None


def span(
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    began: float | None = None,
) -> Span:
    """Make the span of a block: below the context that a row keeps as `parent`, else below the current span.

    `began` is a time of the monotonic clock, for work that has begun before.
    """
    if _tracer is None:
        return NO_SPAN
    return _tracer.start(name, kind, attributes, parent=TraceContext.read(parent), began=began)


def serve(
    name: str,
    headers: Iterable[tuple[bytes, bytes]],
    meta: object = None,
    attributes: Attributes | None = None,
) -> Span:
    """Make the span of a request whose caller may have sent a context: in its `_meta`, else in its headers."""
    if _tracer is None:
        return NO_SPAN
    caller = TraceContext.from_meta(meta) or TraceContext.from_headers(headers)
    return _tracer.start(name, "server", attributes, caller=caller, is_request=True)


def mark(
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    began: float | None = None,
) -> str | None:
    """Keep a span that is over; its context as a row keeps it, None if no traces are wanted."""
    if _tracer is None:
        return None
    with span(name, kind, attributes, parent=parent, began=time.monotonic() if began is None else began) as marked:
        return None if marked.context is None else marked.context.traceparent


def current_context() -> TraceContext | None:
    """Give the place of the current span in its trace; None if there is none."""
    return None if _tracer is None else CURRENT.get().context


def current_traceparent() -> str | None:
    """Give it as a row keeps it."""
    context = current_context()
    return None if context is None else context.traceparent


def current_trace_id() -> str | None:
    """Give the id of the trace that the current span is in, for those who write it down elsewhere."""
    context = current_context()
    return None if context is None else context.trace_id


def current_span() -> Span:
    """Give the current span."""
    return CURRENT.get()


def claimed_trace_id(headers: Iterable[tuple[bytes, bytes]], meta: object = None) -> str | None:
    """Give the id of the trace that a caller says it is in; None where the hub keeps its own."""
    if _tracer is not None:
        return None
    caller = TraceContext.from_meta(meta) or TraceContext.from_headers(headers)
    return None if caller is None else caller.trace_id


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span."""
    if _tracer is not None:
        CURRENT.get().set(attributes)


def link(traceparent: str | None) -> None:
    """Link the current span to the one whose context a row keeps."""
    if _tracer is not None:
        CURRENT.get().link(TraceContext.read(traceparent))


@asynccontextmanager
async def exporting(
    name: str, endpoint: str | None, callers: TraceCallers, environment: Mapping[str, Any]
) -> AsyncIterator[None]:
    """Send spans to a collector as long as the block runs, if there is one: `endpoint`, or that of the environment.

    Spans of further runtimes in the same process go with those of the first.

    Raises:
        InvalidSetting: OpenTelemetry's SDK is not installed.
    """
    global _tracer  # noqa: PLW0603 - one per process, as the standard's own
    if _tracer is not None or not is_wanted(endpoint, environment):
        yield
        return
    try:
        from nexus_hub.telemetry.otel import open_tracer
    except ImportError:
        missing = "NEXUS_OTLP_ENDPOINT: traces need a package more; pip install 'nexus-hub[traces]'"
        raise InvalidSetting([missing]) from None
    async with open_tracer(name, endpoint, callers) as _tracer:
        try:
            yield
        finally:
            _tracer = None


def is_wanted(endpoint: str | None, environment: Mapping[str, Any]) -> bool:
    """Tell if traces are wanted: there is a collector, and the standard's own switches don't say no."""
    disabled = str(environment.get("OTEL_SDK_DISABLED", "")).strip().lower() == "true"
    exporter = str(environment.get("OTEL_TRACES_EXPORTER", "")).strip().lower()
    named = endpoint or any(environment.get(variable) for variable in ENDPOINTS)
    return bool(named) and not disabled and exporter != "none"
