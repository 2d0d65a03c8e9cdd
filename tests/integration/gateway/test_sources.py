"""Hosts and origins that may ask `/mcp`."""

from pathlib import Path

import httpx
import pytest

from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
PAGE = "https://console.example"


async def ask(served: Served, **headers: str) -> httpx.Response:
    """Open a session, with these headers."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    own = {"Authorization": f"Bearer {SERVICE_KEY}", "Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=served.url) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        return await http.post("/mcp", json=body, headers=own | named)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::2]:80", ""])
async def test_a_name_that_is_not_the_hubs_is_refused(served: Served, host: str) -> None:
    answer = await ask(served, Host=host)
    assert answer.status_code == 403
    assert "NEXUS_ALLOWED_HOSTS" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
async def test_every_name_of_the_own_machine_is_taken(served: Served, host: str) -> None:
    assert (await ask(served, Host=host)).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "x"])
async def test_a_page_of_another_site_is_refused(served: Served, origin: str) -> None:
    answer = await ask(served, Origin=origin)
    assert answer.status_code == 403
    assert "NEXUS_ALLOWED_ORIGINS" in answer.json()["error"]["message"]


async def test_what_is_allowed_by_name_gets_through_also_from_a_browser(database: HubDatabase, tmp_path: Path) -> None:
    allowed = {"allowed_hosts": "Hub.example, other", "allowed_origins": f"{PAGE},http://x.example"}
    async with serving(database, tmp_path, free_port(), **allowed) as served:
        answer = await ask(served, Host="hub.EXAMPLE:443", Origin=PAGE)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "mcp-name"}
        async with httpx.AsyncClient(base_url=served.url) as browser:
            assert (await browser.options("/mcp", headers=asked)).status_code == 200
            assert (await browser.options("/mcp", headers=asked | {"Origin": "https://evil.example"})).is_error
