"""What a failed exchange over HTTP says about whether the server may have executed the request."""

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from nexus_hub.upstream.faults import TransportFailure, parse_retry_after


def failed(error: Exception, behind: Exception) -> Exception:
    error.__context__ = behind
    return error


@pytest.mark.parametrize("kind", [httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError])
def test_a_connection_that_broke_after_it_stood_is_lost_whatever_lies_behind(kind: type[Exception]) -> None:
    """TLS leaves an SSLWantReadError behind a reset: the request may have been executed all the same."""
    assert TransportFailure.from_exchange(failed(kind("reset"), ssl.SSLWantReadError())).kind == "disconnected"


def test_a_certificate_that_is_refused_is_named() -> None:
    assert TransportFailure.from_exchange(failed(httpx2.ConnectError("tls"), ssl.SSLError())).kind == "certificate"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, 999999999),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_seconds_to_wait_are_read_from_a_header(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_a_date_to_wait_for_is_read_from_a_header() -> None:
    later = datetime.now(UTC) + timedelta(minutes=2)
    assert parse_retry_after(format_datetime(later, usegmt=True)) == pytest.approx(120, abs=5)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert parse_retry_after("Wed, 99 Oct 2015 07:28:00 GMT") is None


def test_a_date_to_wait_for_is_by_the_clock_of_who_names_it() -> None:
    named, told = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:26:30 GMT"
    assert parse_retry_after(named, told) == 90
    assert parse_retry_after(told, named) == 0
    assert parse_retry_after(named, "no date") == 0
