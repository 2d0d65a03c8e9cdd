"""The seam of traces: nothing while they are off, and what is kept and said while they are on."""

import asyncio
import sys
from typing import Any

import pytest

from nexus_hub.errors import InvalidSetting, NotFound, UpstreamRejected
from nexus_hub.telemetry import tracing
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import LoopFailed, TelemetryEvent
from nexus_hub.telemetry.spans import NO_SPAN
from tests.fixtures.traces import Collector, caller_context, only, traced

CANARY = "canary-5bd1"


def test_while_traces_are_off_every_span_is_the_same_that_keeps_nothing() -> None:
    parent, _ = caller_context()
    with (
        tracing.span("work", parent=parent) as span,
        tracing.serve("GET", [(b"traceparent", parent.encode())]) as other,
    ):
        assert span is other is NO_SPAN
        span.set({"a": 1})
        span.fail("code")
        assert tracing.current_context() is None
        assert tracing.current_traceparent() is None
        assert tracing.current_trace_id() is None
    assert tracing.mark("work", parent=parent) is None


@pytest.mark.parametrize(
    ("endpoint", "environment", "wanted"),
    [
        (None, {}, False),
        ("http://c", {}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (None, {"OTEL_SERVICE_NAME": "hub"}, False),
        ("http://c", {"OTEL_SDK_DISABLED": "True"}, False),
        ("http://c", {"OTEL_TRACES_EXPORTER": "none"}, False),
        ("http://c", {"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_on_when_there_is_a_collector(
    endpoint: str | None, environment: dict[str, Any], wanted: bool
) -> None:
    assert tracing.is_wanted(endpoint, environment) is wanted


async def test_without_the_package_a_process_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nexus_hub.telemetry.otel", None)
    with pytest.raises(InvalidSetting, match=r"nexus-hub\[traces\]"):
        async with tracing.exporting("api", "http://127.0.0.1:1", "trust", {}):
            pass
    assert not tracing.is_on()


async def test_spans_are_nested_and_tasks_begin_below_the_span_that_started_them(collector: Collector) -> None:
    async def work() -> None:
        with tracing.span("task", "client"):
            await asyncio.sleep(0)

    async with traced(collector):
        with tracing.span("outer", attributes={"n": 1, "yes": True, "none": None}):
            task = asyncio.create_task(work())
            with tracing.span("inner"):
                inside = tracing.current_trace_id()
            await task
        with tracing.span("other"):
            pass
    spans = collector.spans()
    outermost = only(spans, "outer")
    assert outermost.parent == ""
    assert outermost.trace_id == inside
    assert outermost.attributes == {"n": 1, "yes": True}
    assert only(spans, "inner").parent == only(spans, "task").parent == outermost.id
    assert only(spans, "task").kind == "client"
    assert only(spans, "other").trace_id != outermost.trace_id


async def test_a_caller_that_is_trusted_is_the_parent_with_its_state(collector: Collector) -> None:
    parent, trace_id = caller_context()
    async with traced(collector):
        with tracing.serve("GET", [(b"traceparent", parent.encode()), (b"tracestate", b"a=1")]) as span:
            assert span.context is not None
            assert span.context.members()["tracestate"] == "a=1"
    (kept,) = collector.spans()
    assert (kept.trace_id, kept.parent, kept.kind) == (trace_id, parent.split("-")[2], "server")


async def test_a_caller_may_be_linked_only(collector: Collector) -> None:
    parent, trace_id = caller_context()
    async with traced(collector, "link"):
        with tracing.serve("GET", [(b"traceparent", parent.encode()), (b"tracestate", b"a=1")]) as span:
            assert span.context is not None
            assert "tracestate" not in span.context.members()
    (kept,) = collector.spans()
    assert kept.trace_id != trace_id
    assert kept.links == [(trace_id, parent.split("-")[2])]


async def test_a_caller_may_mean_nothing(collector: Collector) -> None:
    parent, trace_id = caller_context()
    async with traced(collector, "ignore"):
        with tracing.serve("GET", [], {"traceparent": parent}):
            pass
    (kept,) = collector.spans()
    assert kept.trace_id != trace_id
    assert kept.links == []


async def test_a_caller_that_samples_nothing_is_followed_and_one_that_samples_all_is_not_under_another_sampler(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsampled, trace_id = caller_context(sampled=False)
    async with traced(collector):
        with tracing.serve("GET", [(b"traceparent", unsampled.encode())]), tracing.span("inner") as span:
            assert span.context is not None
            assert span.context.trace_id == trace_id
            assert span.context.traceparent.endswith("-00"), "and so is the server"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with traced(collector):
        with tracing.serve("GET", [(b"traceparent", caller_context()[0].encode())]):
            pass
    assert collector.spans() == []


async def test_meta_counts_more_than_headers(collector: Collector) -> None:
    (in_meta, trace_id), (in_header, _) = caller_context(), caller_context()
    async with traced(collector):
        with tracing.serve("tools/call", [(b"traceparent", in_header.encode())], {"traceparent": in_meta}):
            pass
        with tracing.serve("tools/call", [(b"traceparent", in_header.encode())], {"traceparent": "bad"}):
            pass
    assert [span.trace_id for span in collector.spans()] == [trace_id, in_header.split("-")[1]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("server", CANARY), "not-found"),
        (UpstreamRejected("srv", -32000, CANARY), "upstream-rejected"),
        (ValueError(CANARY), "ValueError"),
        (asyncio.CancelledError(CANARY), "cancelled"),
    ],
)
async def test_an_error_is_told_by_its_code_alone(collector: Collector, error: BaseException, code: str) -> None:
    async with traced(collector):
        with pytest.raises(type(error)), tracing.span("work"):
            raise error
    (kept,) = collector.spans()
    assert kept.is_error
    assert kept.attributes == {"error.type": code}
    assert kept.message == ""
    assert CANARY.encode() not in b"".join(collector.bodies)


async def test_a_signal_that_ends_a_block_is_no_error(collector: Collector) -> None:
    class Pause(BaseException):
        """As Prefect's own, by which a run gives its place back."""

    async with traced(collector):
        with pytest.raises(Pause), tracing.span("work"):
            raise Pause
    assert not collector.spans()[0].is_error


async def test_a_code_that_is_a_text_of_somebody_is_not_told(collector: Collector) -> None:
    async with traced(collector):
        with tracing.span("work") as span:
            span.fail(f"no code: {CANARY}")
    assert collector.spans()[0].attributes == {"error.type": "other"}


async def test_hostile_names_are_one_line(collector: Collector) -> None:
    async with traced(collector):
        with tracing.span("a\u202eb\x1b[31m", attributes={"name": "x\ny" + "z" * 1000}):
            pass
    (kept,) = collector.spans()
    assert kept.name == "a\\u202eb\\u001b[31m"
    assert kept.attributes["name"].startswith("x\\u000ay")
    assert len(kept.attributes["name"]) <= 120


async def test_the_row_of_a_job_is_the_parent_and_what_carries_it_is_linked(collector: Collector) -> None:
    parent, trace_id = caller_context()
    async with traced(collector):
        with tracing.span("run.shared") as run, tracing.span("job.attempt", parent=parent):
            tracing.link(caller_context()[0])
        assert run.context is not None
    spans = collector.spans()
    attempt = only(spans, "job.attempt")
    assert (attempt.trace_id, attempt.parent) == (trace_id, parent.split("-")[2])
    assert (run.context.trace_id, only(spans, "run.shared").id) in attempt.links
    assert len(attempt.links) == 2


async def test_names_of_the_standard_hold(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=one")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-hub")
    async with tracing.exporting("api", None, "trust", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}):
        with tracing.span("work"):
            pass
    (headers,) = collector.headers
    assert {name.lower(): value for name, value in headers.items()}["x-tenant"] == "one"
    assert b"our-hub" in collector.bodies[0]


async def test_a_collector_that_takes_nothing_is_told_of_and_holds_up_nothing(collector: Collector) -> None:
    collector.status = 400
    events: list[TelemetryEvent] = []
    with subscribe(events.append):
        async with traced(collector):
            with tracing.span("work"):
                pass
    assert LoopFailed("traces", "spans-unsent") in events


async def test_a_second_runtime_of_a_process_shares_the_first_ones_spans(collector: Collector) -> None:
    async with traced(collector):
        async with traced(collector, "ignore"):
            assert tracing.is_on()
        assert tracing.is_on()
    assert not tracing.is_on()
