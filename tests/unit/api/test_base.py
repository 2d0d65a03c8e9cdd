"""The hub's base URL, as a request names it or as the operator does."""

import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from nexus_hub.api.base import base_of
from nexus_hub.errors import NotAllowed
from nexus_hub.gateway.endpoint import Sources
from nexus_hub.settings import Settings


def request(name: str, scheme: str = "http", **settings: str) -> HTTPConnection:
    """A request to a hub with these settings, under that name."""
    given, app = Settings(**{"host": "127.0.0.1", **settings}), FastAPI()  # type: ignore[arg-type]
    app.state.public_url, app.state.sources = given.public_url, Sources.from_settings(given)
    return HTTPConnection({"type": "http", "app": app, "scheme": scheme, "headers": [(b"host", name.encode())]})


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("LOCALHOST", "http://localhost"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("localhost:80", "http://localhost"),
    ],
)
def test_without_a_public_url_the_request_names_the_base(host: str, base: str) -> None:
    assert base_of(request(host)) == base


def test_the_scheme_is_that_of_the_request() -> None:
    assert base_of(request("localhost", "https")) == "https://localhost"


@pytest.mark.parametrize(
    "host", ["evil.example", "", 'localhost"', "localhost/x", "a@localhost", "localhost:x", "[::1"]
)
def test_a_host_that_is_none_of_the_hub_is_never_named(host: str) -> None:
    with pytest.raises(NotAllowed):
        base_of(request(host))


@pytest.mark.parametrize("host", ['a"b', "a b", "a,b", "a@b", "a/b", "a?b"])
def test_nor_what_is_no_host_where_any_is_allowed(host: str) -> None:
    with pytest.raises(NotAllowed):
        base_of(request(host, host="0.0.0.0"))


def test_a_public_url_goes_before_what_the_request_says_and_its_host_is_one_of_the_hub() -> None:
    asked = request("hub.example", public_url="https://hub.example")
    assert base_of(asked) == "https://hub.example"
    asked.app.state.sources.check_host(asked.headers)
    assert base_of(request("evil.example", public_url="https://hub.example")) == "https://hub.example"
