"""What a failed exchange over HTTP says about whether the server may have executed the request."""

import ssl

import httpx2
import pytest

from nexus_hub.upstream.faults import trouble_of_exchange


def failed(error: Exception, behind: Exception) -> Exception:
    error.__context__ = behind
    return error


@pytest.mark.parametrize("kind", [httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError])
def test_a_connection_that_broke_after_it_stood_is_lost_whatever_lies_behind(kind: type[Exception]) -> None:
    """TLS leaves an SSLWantReadError behind a reset: the request may have been executed all the same."""
    assert trouble_of_exchange(failed(kind("reset"), ssl.SSLWantReadError())).kind == "lost"


def test_a_certificate_that_is_refused_is_named() -> None:
    assert trouble_of_exchange(failed(httpx2.ConnectError("tls"), ssl.SSLError())).kind == "certificate"
