"""Contexts that callers send: the good ones are read, all others count as not sent."""

from typing import Any

import pytest

from nexus_hub.telemetry.trace_context import TraceContext, find_trace_id

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_context_is_read_from_headers_and_from_meta() -> None:
    headers = [(b"accept", b"*/*"), (b"Traceparent", GOOD.encode()), (b"tracestate", b"a=1,b=2")]
    expected = TraceContext(GOOD, "a=1,b=2")
    assert TraceContext.from_headers(headers) == expected
    assert TraceContext.from_meta({"traceparent": GOOD, "tracestate": "a=1,b=2"}) == expected
    assert expected.trace_id == find_trace_id(GOOD) == "0af7651916cd43dd8448eb211c80319c"
    assert find_trace_id(None) is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("00-", "01-", 1) + "-more",
        GOOD.replace("00-", "ff-", 1),
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GOOD.replace("b7ad6b7169203331", "0" * 16),
        GOOD.replace("b", "\x00", 1),
        GOOD.replace("0af", "٣af"),  # a digit, but none of ASCII
        "00-" + "a" * 1_000_000,
        None,
        7,
        [GOOD],
        {"traceparent": GOOD},
    ],
)
def test_what_is_no_context_counts_as_not_sent(bad: Any) -> None:
    assert TraceContext.read(bad) is None
    assert TraceContext.from_meta({"traceparent": bad}) is None
    if isinstance(bad, str):
        assert TraceContext.from_headers([(b"traceparent", bad.encode("utf-8"))]) is None


@pytest.mark.parametrize("meta", [None, "text", [GOOD], 5])
def test_meta_that_is_no_object_holds_no_context(meta: Any) -> None:
    assert TraceContext.from_meta(meta) is None


@pytest.mark.parametrize("bad", ["", "a=" + "1" * 512, "a=1\r\nset-cookie: x", "a=\x7f", "a=ü", None, 7, ["a=1"]])
def test_a_bad_state_is_left_out_of_a_good_context(bad: Any) -> None:
    assert TraceContext.read(GOOD, bad) == TraceContext(GOOD)


def test_a_header_that_comes_twice_counts_as_not_sent() -> None:
    once, state = (b"traceparent", GOOD.encode()), (b"tracestate", b"a=1")
    assert TraceContext.from_headers([once, once]) is None
    assert TraceContext.from_headers([once, once, once]) is None
    assert TraceContext.from_headers([once, state, state]) == TraceContext(GOOD)


def test_a_context_takes_the_place_of_the_one_in_meta() -> None:
    other = GOOD.replace("0af", "1af")
    meta = {"traceparent": other, "tracestate": "a=1", "baggage": "b=2", "com.example/a": 1}
    assert TraceContext(GOOD).put_into(meta) == {"traceparent": GOOD, "baggage": "b=2", "com.example/a": 1}
    assert TraceContext(GOOD, "c=3").put_into({}) == {"traceparent": GOOD, "tracestate": "c=3"}
    assert meta["traceparent"] == other
