"""Challenges of answers that ask for another token."""

import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from nexus_hub.api.challenges import METADATA_PATH, make_challenge, resource_path
from nexus_hub.errors import HubError, InsufficientScope, NotAllowed, NotAuthenticated
from nexus_hub.gateway.endpoint import Sources

BASE = "https://hub.example"


def challenge(error: HubError, path: str = "/v1/jobs", token: str = "", host: str = "hub.example") -> str:
    app = FastAPI()
    app.state.public_url, app.state.sources = None, Sources(frozenset({"hub.example"}), frozenset())
    headers = [(b"host", host.encode())] + ([(b"authorization", f"Bearer {token}".encode())] if token else [])
    scope = {"type": "http", "app": app, "scheme": "https", "path": path, "headers": headers}
    return make_challenge(error, HTTPConnection(scope)) or ""


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/v1/jobs", ""),
        ("/", ""),
        ("*", ""),
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp"),
        ("/mcp/notes", "/mcp/notes"),
        ("/mcp/notes/more", "/mcp/notes"),
        ('/mcp/"', "/mcp/%22"),
        ("/mcp/é", "/mcp/%C3%A9"),
        ("/mcpx", ""),
    ],
)
def test_the_metadata_is_that_of_the_resource_that_was_asked_for(path: str, resource: str) -> None:
    assert resource_path(path) == resource
    assert challenge(NotAuthenticated(), path) == (
        f'Bearer resource_metadata="{BASE}{METADATA_PATH}{resource}", scope="tools:list tools:call jobs"'
    )


def test_a_token_that_is_not_good_is_called_so_with_a_reason() -> None:
    said = challenge(NotAuthenticated('It says "x\\y" é\n.'), token="x")
    assert 'error="invalid_token", error_description="It says ?x?y? ??."' in said
    assert 'error="invalid_token", error_description="The token is not known' in challenge(
        NotAuthenticated(), token="x"
    )


def test_a_token_that_is_not_good_enough_learns_all_that_is_needed() -> None:
    said = challenge(InsufficientScope({"tools:call", "jobs"}), token="x")
    assert 'error="insufficient_scope"' in said
    assert 'scope="jobs tools:call"' in said
    assert METADATA_PATH in said


def test_a_host_that_is_none_of_the_hub_is_not_repeated() -> None:
    assert challenge(NotAuthenticated(), host="evil.example") == 'Bearer scope="tools:list tools:call jobs"'


def test_no_other_error_asks_for_a_token() -> None:
    assert challenge(NotAllowed("No."), token="x") == ""
