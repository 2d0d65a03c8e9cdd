"""Redirect addresses: where a code may be sent, and what counts as the same address."""

import pytest

from nexus_hub.authorization import redirects

GOOD = [
    "https://claude.ai/api/mcp/auth_callback",
    "https://chatgpt.com/connector_platform_oauth_redirect",
    "https://a.example:8443/cb?x=1",
    "http://localhost:3118/callback",
    "http://127.0.0.1:33418",
    "http://[::1]:9/cb",
    "cursor://anysphere.cursor-retrieval/oauth/user/callback",
    "com.example.app:/callback",
]
BAD = [
    "http://a.example/cb",
    "http://localhost.evil.example/cb",
    "http://127.0.0.1.evil.example/cb",
    "https://user@a.example/cb",
    "https://a.example/cb#x",
    "https://a.example/../cb",
    "https://a.example/c b",
    "https://a.example\\@evil.example/cb",
    "https:///cb",
    "https://a.example:port/cb",
    "https://[::1/cb",
    "javascript:alert(1)",
    "javascript://a.example/%0aalert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "//a.example/cb",
    "/cb",
    "myapp:cb",
    "",
    "https://a.example/" + "x" * 2000,
    "https://ä.example/cb",
    "https://a.example%2eevil.example/cb",
    "https://a.example;evil.example/cb",
    "https://a.example/in/%2e%2E/cb",
    "ms-msdt://x/",
    "search-ms://x/",
    "ssh://a.example/",
    "smb://a.example/share",
]


@pytest.mark.parametrize("uri", GOOD)
def test_code_may_be_sent_there(uri: str) -> None:
    assert redirects.find_fault(uri) is None
    assert redirects.is_registered(uri, [uri])


@pytest.mark.parametrize("uri", BAD)
def test_code_may_not_be_sent_there(uri: str) -> None:
    assert redirects.find_fault(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://a.example/cb/",
        "https://a.example/cb?x",
        "https://a.example/CB",
        "https://a.example:8443/cb",
        "https://a.example.evil.example/cb",
        "https://b.example/cb",
        "http://a.example/cb",
    ],
)
def test_another_address_is_not_the_registered_one(uri: str) -> None:
    assert not redirects.is_registered(uri, ["https://a.example/cb"])


def test_port_of_this_machine_may_be_any_and_nothing_else() -> None:
    assert redirects.is_registered("http://127.0.0.1:5555/cb", ["http://127.0.0.1/cb"])
    assert redirects.is_registered("http://localhost:1/cb", ["http://localhost:2/cb"])
    assert redirects.is_registered("http://[::1]:1/cb", ["http://[::1]/cb"])
    assert not redirects.is_registered("http://127.0.0.1:5555/other", ["http://127.0.0.1/cb"])
    assert not redirects.is_registered("http://localhost:5555/cb", ["http://127.0.0.1/cb"])
    assert not redirects.is_registered("https://localhost:5555/cb", ["https://localhost/cb"])


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("https://a.example/cb", "a.example"),
        ("http://127.0.0.1:5/cb", "127.0.0.1:5"),
        ("cursor://x/cb", "cursor:"),
    ],
)
def test_place_is_named(uri: str, place: str) -> None:
    assert redirects.describe(uri) == place


def test_parameters_are_added_behind_those_there_are() -> None:
    assert redirects.add_parameters("https://a.example/cb?x=1", code="a b", state=None) == (
        "https://a.example/cb?x=1&code=a+b"
    )
