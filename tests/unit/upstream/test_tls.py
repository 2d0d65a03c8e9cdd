"""Clients of upstream servers read the certificates of authorities once, and anew when others are to count."""

import ssl
from typing import Any

import pytest

from nexus_hub.upstream import tls
from nexus_hub.upstream.addresses import resolve
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.http import build_client


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The contexts that were made since the test began."""
    seen: list[ssl.SSLContext] = []
    init: Any = ssl.SSLContext.__new__

    def note(*args: Any, **more: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = init(*args, **more)
        seen.append(context)
        return context

    monkeypatch.setattr(ssl.SSLContext, "__new__", note)
    return seen


@pytest.mark.parametrize("url", ["https://example.org/mcp", "http://127.0.0.1:1/mcp"])
@pytest.mark.parametrize("proxies", [{}, {"https": "http://127.0.0.1:9"}])
def test_no_client_makes_a_context_of_its_own(
    made: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, url: str, proxies: dict[str, str]
) -> None:
    monkeypatch.setattr("nexus_hub.upstream.http.getproxies", lambda: proxies)
    tls.shared_context()
    made.clear()
    for guarded in (False, True):
        for _ in range(3):
            build_client(HttpConfig(url=url), guarded=guarded, resolve=resolve, max_bytes=1, connect_timeout=1)
    assert not made


def test_other_certificates_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tls.shared_context()
    assert tls.shared_context() is first
    assert first.verify_mode is ssl.CERT_REQUIRED
    monkeypatch.setattr(tls, "RENEW_SECONDS", 1e-6)
    assert tls.shared_context() is not first
