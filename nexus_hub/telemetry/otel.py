"""Spans kept by OpenTelemetry's SDK and sent by OTLP over HTTP; imported only where traces are wanted.

The provider is this module's own and not the process's: what the MCP SDK and Prefect would write into spans of their
own, such as messages of servers and of exceptions, is kept by nobody.
"""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Token
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as SdkTracer

from nexus_hub.errors import HubError
from nexus_hub.telemetry.loops import tell_failure
from nexus_hub.telemetry.spans import CURRENT, Attributes, Kind, Span
from nexus_hub.telemetry.text import printable
from nexus_hub.telemetry.trace_context import TraceContext
from nexus_hub.telemetry.tracing import TraceCallers

SERVICE = "nexus-hub"
FLUSH_SECONDS = 3.0
"""A process that stops waits so long for a collector to take its last spans."""
ERROR_TYPE = "error.type"
KNOWN_FLAGS = 0x03
"""Sampled, and random. Source: W3C Trace Context Level 2, trace-flags; the others are not passed on."""
_CODE = re.compile("[A-Za-z0-9_.-]{1,60}")
_NANOSECONDS = 1_000_000_000


class OtelSpan:
    """A span of the SDK, current while its block runs."""

    def __init__(self, span: SdkSpan) -> None:
        self.sdk = span
        self._token: Token[Span] | None = None
        self.context: TraceContext | None = _write_context(span.get_span_context())

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object, /) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        if isinstance(error, Exception | asyncio.CancelledError):  # no other end of a block says that it failed
            self.fail(_code_of(error))
        self.end()

    def set(self, attributes: Attributes) -> None:
        """See `Span.set`."""
        if self.sdk.is_recording():
            self.sdk.set_attributes(_to_values(attributes))

    def rename(self, name: str) -> None:
        """See `Span.rename`."""
        self.sdk.update_name(printable(name))

    def fail(self, code: str) -> None:
        """See `Span.fail`; the code is all that is said of it."""
        self.sdk.set_status(StatusCode.ERROR)
        self.sdk.set_attribute(ERROR_TYPE, code if _CODE.fullmatch(code) else "other")

    def link(self, context: TraceContext | None) -> None:
        """See `Span.link`; of more than OTEL_SPAN_LINK_COUNT_LIMIT the oldest are dropped."""
        if context is not None and self.sdk.is_recording():
            self.sdk.add_link(_read_context(context))

    def end(self) -> None:
        """See `Span.end`."""
        if self.sdk.is_recording():
            self.sdk.end()


class OtelTracer:
    """Starts spans, and decides what a caller's context is worth."""

    def __init__(self, tracer: SdkTracer, callers: TraceCallers) -> None:
        self._tracer = tracer
        self._callers = callers

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
        *,
        parent: TraceContext | None = None,
        caller: TraceContext | None = None,
        is_request: bool = False,
        began: float | None = None,
    ) -> OtelSpan:
        """See `Tracer.start`."""
        current = CURRENT.get()
        context, links = Context(), list[Link]()
        if is_request and caller is not None and self._callers == "trust":
            parent = caller
        elif is_request and caller is not None and self._callers == "link":
            links = [Link(_read_context(caller))]
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_read_context(parent)), context)
            if current.context is not None and current.context.trace_id != parent.trace_id:
                links = [Link(_read_context(current.context))]
        elif not is_request and isinstance(current, OtelSpan):
            context = set_span_in_context(current.sdk, context)
        span = self._tracer.start_span(
            printable(name),
            context,
            SpanKind[kind.upper()],
            _to_values(attributes or {}),
            links,
            None if began is None else time.time_ns() - int((time.monotonic() - began) * _NANOSECONDS),
        )
        return OtelSpan(span)


class SpansUnsent(HubError):
    """Spans that the collector did not take; they are lost."""

    code = "spans-unsent"

    def __init__(self) -> None:
        super().__init__("The collector of traces takes no spans; see NEXUS_OTLP_ENDPOINT.")


class TellingExporter(SpanExporter):
    """Exporter that tells of a collector which takes nothing, without a word of what was sent to it or where."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans on."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # such as a certificate that can't be read
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            tell_failure("traces", SpansUnsent())
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


@asynccontextmanager
async def open_tracer(process: str, endpoint: str | None, callers: TraceCallers) -> AsyncIterator[OtelTracer]:
    """Keep spans and send them in the background as long as the block runs, then what is left of them.

    An `endpoint` is the base of the collector's address; without one the standard's variables hold, as all others do.
    """
    provider = TracerProvider(resource=_make_resource(process), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(TellingExporter(_make_exporter(endpoint))))
    try:
        yield OtelTracer(provider.get_tracer(SERVICE), callers)
    finally:
        await _shutdown(provider)


async def _shutdown(provider: TracerProvider) -> None:
    """Let the last spans go out; a collector that hangs holds the process up no longer than for a moment."""
    thread = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, FLUSH_SECONDS)


def _make_exporter(endpoint: str | None) -> SpanExporter:
    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)


def _make_resource(process: str) -> Resource:
    named = OTELResourceDetector().detect().attributes.get("service.name")
    return Resource.create({"service.name": named or SERVICE, "nexus.process": process})


def _to_values(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {
        name: value if isinstance(value, bool | int | float) else printable(str(value))
        for name, value in attributes.items()
        if value is not None
    }


def _code_of(error: BaseException) -> str:
    """Name an error by its code, else by its class; its message may hold anything."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    code = getattr(error, "code", None)
    return str(code) if isinstance(code, str | int) else type(error).__name__


def _read_context(context: TraceContext) -> SpanContext:
    _, trace_id, span_id, flags = context.traceparent.split("-")
    return SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16) & KNOWN_FLAGS),
        trace_state=TraceState.from_header([context.tracestate]) if context.tracestate else None,
    )


def _write_context(context: SpanContext) -> TraceContext:
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return TraceContext(traceparent, context.trace_state.to_header() or None)
