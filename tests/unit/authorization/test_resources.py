"""Scopes and resources: what is asked for, what may be granted, and by whom requests are counted."""

from uuid import uuid4

import pytest

from nexus_hub.authorization.resources import offer_scopes, read_resource, read_scopes
from nexus_hub.authorization.server import network_of
from nexus_hub.models import OPERATOR, Principal
from nexus_hub.settings import load

BASE = "https://hub.example"


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (None, "/mcp"),
        (f"{BASE}/mcp", "/mcp"),
        (f"{BASE}/mcp/", "/mcp"),
        ("HTTPS://HUB.example:443/mcp", "/mcp"),
        (f"{BASE}/mcp/time", "/mcp/time"),
        (BASE, ""),
        (f"{BASE}/", ""),
    ],
)
def test_resource_of_the_hub(resource: str | None, path: str) -> None:
    assert read_resource(resource, BASE) == path


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/mcp",
        "http://hub.example/mcp",
        "https://hub.example:8443/mcp",
        "https://hub.example.evil.example/mcp",
        "https://user@hub.example/mcp",
        f"{BASE}/v1",
        f"{BASE}/mcp/a/b",
        f"{BASE}/mcp/..",
        f"{BASE}/mcp?x",
        f"{BASE}/mcp#x",
        f"{BASE}/MCP",
        "https://[::1/mcp",
    ],
)
def test_resource_of_somebody_else(resource: str) -> None:
    assert read_resource(resource, BASE) is None


def test_scopes_are_those_that_the_hub_knows() -> None:
    assert read_scopes(None) == read_scopes(" ") == ["tools:list", "tools:call", "jobs"]
    assert read_scopes("jobs offline_access tools:list jobs") == ["tools:list", "jobs"]
    assert read_scopes("openid") == []


def test_nobody_grants_what_is_not_theirs() -> None:
    asked = read_scopes("tools:list jobs admin")
    assert offer_scopes(asked, OPERATOR) == ["tools:list", "jobs", "admin"]
    assert offer_scopes(asked, Principal(uuid4())) == ["tools:list", "jobs"]
    assert offer_scopes(asked, Principal(uuid4(), frozenset({"jobs", "admin"}))) == ["jobs"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_senders_are_counted_by_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_it_is_on_unless_it_was_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().has_built_in_login
    monkeypatch.setenv("NEXUS_BUILT_IN_LOGIN", "off")
    assert not load().has_built_in_login
