"""Addresses to which a browser may come back from a login."""

import pytest

from nexus_hub.errors import InvalidRequest
from nexus_hub.servers.login_requests import check_redirect


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000/callback", "http://localhost:80/x/y", "http://[::1]:1/"])
def test_ports_of_its_own_machine(url: str) -> None:
    assert check_redirect(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/callback",
        "http://evil.example:80/callback",
        "http://127.0.0.1.evil.example:1/callback",
        "http://127.0.0.1:1@evil.example/callback",
        "http://127.0.0.1:1/callback?next=https://evil.example",
        "http://127.0.0.1:1/callback#x",
        "http://127.0.0.1:1/\ncallback",
        "http://127.0.0.1:1/callback\n",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1",
        "javascript:alert(1)",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="redirect_uri must be"):
        check_redirect(url)
